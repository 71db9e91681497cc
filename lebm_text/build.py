"""Configuration → modules. The only place that reads configuration to make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lebm_text.config import Config, InferenceConfig, PriorConfig
from lebm_text.inference.short_run import ShortRun
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior, Prior
from lebm_text.nn.precision import compute_dtype
from lebm_text.samplers.langevin import langevin
from lebm_text.samplers.noise import Rng, draw_normal
from lebm_text.samplers.schedules import geometric, linear

__all__ = ["LatentModel", "build_inference", "build_model", "sample_prior"]


class LatentModel(nn.Module):
    """The two learned parts of p(x, z) = p_α(z) p_β(x|z)."""

    def __init__(self, prior: EBMPrior | GaussianPrior, generator: LSTMGenerator) -> None:
        super().__init__()
        self.prior = prior
        self.generator = generator


def build_model(config: Config, *, vocab_size: int, bos_id: int, rng: torch.Generator) -> LatentModel:
    """Freshly initialised modules on the CPU; `config.training.precision` must be resolved."""
    sizes = config.model
    prior: EBMPrior | GaussianPrior
    if sizes.prior == "gaussian":
        prior = GaussianPrior(sizes.latent_dim)
    else:
        prior = EBMPrior(
            sizes.latent_dim,
            hidden_dim=sizes.prior_hidden_dim,
            energy_bound=sizes.energy_bound,
            init_range=sizes.init_range,
            rng=rng,
        )
    generator = LSTMGenerator(
        vocab_size,
        latent_dim=sizes.latent_dim,
        embedding_dim=sizes.embedding_dim,
        hidden_dim=sizes.hidden_dim,
        bos_id=bos_id,
        dropout=sizes.dropout,
        tied=sizes.tied,
        compute_dtype=compute_dtype(config.training.precision),
        init_range=sizes.init_range,
        rng=rng,
    )
    return LatentModel(prior, generator)


def build_inference(config: InferenceConfig, *, epoch: float, memory: Tensor | None = None) -> ShortRun:
    """The posterior chain as it is after `epoch` epochs (a fraction counts), its anneals applied.

    `memory` (N, D) holds persistent chains.
    """
    progress = epoch / config.anneal_epochs
    noise_scale, weight = config.noise_scale, config.likelihood_weight
    if config.noise_scale_start is not None:
        noise_scale = linear(config.noise_scale_start, noise_scale, progress)
    if config.likelihood_weight_start is not None:
        weight = geometric(config.likelihood_weight_start, weight, progress)
    return ShortRun(
        n_steps=config.n_steps,
        step_size=config.step_size,
        noise_scale=noise_scale,
        likelihood_weight=weight,
        memory=memory,
    )


def sample_prior(
    prior: Prior,
    config: PriorConfig,
    n: int,
    *,
    rng: Rng,
    device: torch.device,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """n draws of z (n, D) and where their chains began: exact for a Gaussian prior, K0 Langevin steps for an EBM."""
    start = draw_normal(rng, (n, prior.latent_dim), device)
    if isinstance(prior, GaussianPrior):
        return start, start
    result = langevin(prior.logdensity, start, rng=rng, callback=callback, **dataclasses.asdict(config))
    return result.z, start
