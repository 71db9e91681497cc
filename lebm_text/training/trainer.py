"""One learner: modules, optimisers and random streams, and the update that moves them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_inference, sample_prior
from lebm_text.config import Config
from lebm_text.inference.short_run import ShortRun
from lebm_text.models.priors import EBMPrior
from lebm_text.samplers.noise import draw_normal, stream
from lebm_text.text.batching import Batch
from lebm_text.training.adam import Adam
from lebm_text.training.checkpoint import JSON, flatten, unflatten
from lebm_text.training.monitor import largest_curvature, require_finite, spread, z_usage
from lebm_text.training.objectives import generator_loss, prior_loss

__all__ = ["Trainer"]


class Trainer:
    """Algorithm 1 of Pang et al. (NeurIPS 2020), one batch at a time.

    Args:
        model: on its device.
        config: resolved.
        n_sentences: of the training corpus.
        mean_batch_size: corpus average, the divisor of both losses.
    """

    def __init__(self, model: LatentModel, config: Config, *, n_sentences: int, mean_batch_size: float) -> None:
        self.model, self.config, self.mean_batch_size = model, config, mean_batch_size
        self.device = model.generator.embedding.device
        settings = config.training
        self.noise = stream(settings.seed, "chains")
        self.dropout = stream(settings.seed, "dropout", self.device)
        self.optimizers = {"generator": Adam(model.generator.parameters(), lr=settings.learning_rate)}
        if isinstance(model.prior, EBMPrior):
            self.optimizers["prior"] = Adam(
                model.prior.parameters(),
                lr=settings.prior_learning_rate,
                weight_decay=settings.prior_weight_decay,
            )
        self.memory: Tensor | None = None
        if config.inference.persistent:
            self.memory = draw_normal(self.noise, (n_sentences, config.model.latent_dim))

    def inference(self, epoch: float) -> ShortRun:
        """The posterior chain as it is after `epoch` epochs."""
        return build_inference(self.config.inference, epoch=epoch, memory=self.memory)

    def update(self, batch: Batch, *, epoch: float, step: int, probe: bool = False) -> dict[str, float]:
        """One step of both optimisers; returns what it saw, in nats and norms.

        Args:
            batch: on the device.
            epoch: epochs done, with the fraction of the running one.
            step: number of this update, for messages.
            probe: add the dearer figures (`monitor`).

        Raises:
            FloatingPointError: a figure is not finite; the parameters are then as before the update.
        """
        infer = self.inference(epoch)
        positive = infer(batch, self.model.prior, self.model.generator, rng=self.noise)
        z_negative, negative_start = sample_prior(
            self.model.prior, self.config.prior, len(batch.lengths), rng=self.noise, device=self.device
        )
        figures = {
            "likelihood_weight": infer.likelihood_weight,
            "noise_scale": infer.noise_scale,
            **self._phases(positive.z, z_negative),
            "move_positive": _mean_norm(positive.z - positive.start),
            "move_negative": _mean_norm(z_negative - negative_start),
        }
        if probe:
            figures |= self._probe(batch, infer, positive.z, z_negative)
        log_likelihood = self.model.generator.log_likelihood(batch, positive.z, rng=self.dropout)
        figures["nll_token"] = float(-log_likelihood.detach().sum()) / batch.n_tokens
        norms = self._backward(log_likelihood, positive.z, z_negative)
        require_finite(step, figures | norms)
        for name, optimizer in self.optimizers.items():
            if name != "prior" or epoch >= self.config.training.prior_start_epoch:
                optimizer.step()
        return figures | norms

    def end_epoch(self) -> None:
        """Decay the learning rates."""
        for optimizer in self.optimizers.values():
            optimizer.lr *= self.config.training.learning_rate_decay

    def state(self) -> tuple[dict[str, Tensor], JSON]:
        """All that the next update depends on, but for its batch: tensors and their JSON skeleton."""
        tree: dict[str, Any] = {
            "model": dict(self.model.state_dict()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "dropout": self.dropout.get_state(),
            "memory": self.memory,
        }
        return flatten(tree, "trainer")

    def load_state(self, tensors: dict[str, Tensor], skeleton: JSON) -> None:
        """The inverse of `state`."""
        tree = unflatten(skeleton, tensors)
        self.model.load_state_dict(tree["model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(tree["optimizers"][name])
        self.noise.set_state(tree["noise"])
        self.dropout.set_state(tree["dropout"])
        self.memory = tree["memory"]

    def _phases(self, z_positive: Tensor, z_negative: Tensor) -> dict[str, float]:
        with torch.no_grad():
            f_positive = float(self.model.prior.neg_energy(z_positive).mean())
            f_negative = float(self.model.prior.neg_energy(z_negative).mean())
        figures = {
            "f_positive": f_positive,
            "f_negative": f_negative,
            "gap": f_positive - f_negative,
            "norm_positive": _mean_norm(z_positive),
            "norm_negative": _mean_norm(z_negative),
        }
        if len(z_positive) > 1:
            figures |= {"std_positive": spread(z_positive), "std_negative": spread(z_negative)}
        return figures

    def _probe(self, batch: Batch, infer: ShortRun, z: Tensor, z_prior: Tensor) -> dict[str, float]:
        likelihood, prior = self.model.generator.likelihood(batch), self.model.prior
        usage = z_usage(likelihood, z, z_prior)
        per_token = len(batch.lengths) / batch.n_tokens
        posterior = infer.target(prior, likelihood)
        # A stream of its own: how often a run reports must not change what it learns.
        rng = stream(self.config.training.seed, "probe")
        return {
            **{f"nll_{name}": -value * per_token for name, value in usage.items()},
            "curvature_posterior": largest_curvature(posterior, z, rng=rng) * _quarter_square(infer.step_size),
            "curvature_prior": largest_curvature(prior.logdensity, z_prior, rng=rng)
            * _quarter_square(self.config.prior.step_size),
        }

    def _backward(self, log_likelihood: Tensor, z_positive: Tensor, z_negative: Tensor) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        settings, norms = self.config.training, {}
        generator_loss(log_likelihood, self.mean_batch_size).backward()  # type: ignore[no-untyped-call]
        norms["grad_generator"] = _clip(self.model.generator, settings.clip_norm)
        if "prior" in self.optimizers:
            prior_loss(self.model.prior, z_positive, z_negative, self.mean_batch_size).backward()  # type: ignore[no-untyped-call]
            norms["grad_prior"] = _clip(self.model.prior, settings.prior_clip_norm)
        return norms


def _clip(module: torch.nn.Module, limit: float) -> float:
    return float(torch.nn.utils.clip_grad_norm_(module.parameters(), limit))


def _mean_norm(z: Tensor) -> float:
    return float(z.norm(dim=-1).mean())


def _quarter_square(step_size: float | Sequence[float]) -> float:
    largest = max(step_size) if isinstance(step_size, Sequence) else step_size
    return largest**2 / 4
