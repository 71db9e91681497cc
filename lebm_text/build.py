"""Configuration → modules. The only place that reads configuration to make them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from lebm_text.config import Config, InferenceConfig
from lebm_text.inference.amortized import Amortized, FreeBits
from lebm_text.inference.base import Inference
from lebm_text.inference.chain import LangevinChain
from lebm_text.inference.no_latent import NoLatent
from lebm_text.inference.semi_amortized import SemiAmortized
from lebm_text.inference.short_run import ShortRun
from lebm_text.models.base import Generator, Prior
from lebm_text.models.encoder import LSTMEncoder
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import compute_dtype
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.samplers.schedules import geometric, linear

__all__ = ["LatentModel", "build_inference", "build_model"]


class LatentModel(nn.Module):
    """The learned parts of p(x, z) = p_α(z) p_β(x|z), and of q(z|x) where inference is amortized."""

    def __init__(self, prior: Prior, generator: Generator, encoder: LSTMEncoder | None = None) -> None:
        super().__init__()
        self.prior = prior
        self.generator = generator
        self.encoder = encoder


def build_model(config: Config, *, vocab_size: int, bos_id: int, rng: torch.Generator) -> LatentModel:
    """Freshly initialised modules on the CPU; `config.training.precision` must be resolved."""
    sizes = config.model
    prior: Prior
    if sizes.prior == "gaussian":
        prior = GaussianPrior(sizes.latent_dim)
    else:
        prior = EBMPrior(
            sizes.latent_dim,
            hidden_dim=sizes.prior_hidden_dim,
            energy_bound=sizes.energy_bound,
            init_range=sizes.init_range,
            chain=LangevinChain(**dataclasses.asdict(config.prior)),
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
    if config.inference.kind not in ("amortized", "semi_amortized"):
        return LatentModel(prior, generator)
    encoder = LSTMEncoder(
        vocab_size,
        latent_dim=sizes.latent_dim,
        embedding_dim=sizes.embedding_dim,
        hidden_dim=sizes.hidden_dim,
        compute_dtype=compute_dtype(config.training.precision),
        init_range=sizes.init_range,
        rng=rng,
    )
    return LatentModel(prior, generator, encoder)


def build_inference(
    config: InferenceConfig, *, epoch: float, memory: Tensor | None = None, encoder: LSTMEncoder | None = None
) -> Inference:
    """The way to z⁺ as it is after `epoch` epochs (a fraction counts), its anneals applied.

    `memory` (N, D) holds persistent chains; `encoder` is that of an amortized posterior.
    """
    progress = (epoch - config.pretrain_epochs - config.anneal_start_epoch) / config.anneal_epochs
    if config.kind == "no_latent":
        return NoLatent()
    if config.kind in ("amortized", "semi_amortized"):
        assert encoder is not None
        kl_weight = config.kl_weight
        if config.kl_weight_start is not None:
            kl_weight = linear(config.kl_weight_start, kl_weight, progress)
        if epoch < config.pretrain_epochs:
            kl_weight = 0.0
        free_bits = FreeBits(config.free_bits, config.free_bits_kind)
        if config.kind == "amortized":
            return Amortized(encoder, kl_weight, free_bits)
        return SemiAmortized(encoder, kl_weight, free_bits, n_steps=config.n_steps, step_size=config.step_size)
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
