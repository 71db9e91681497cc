"""The interface of inference methods, and the method of models without latent vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from lebm_text.models.base import Batch, Chain, Generator, LogDensity, Prior
from lebm_text.random import Rng

__all__ = ["Inference", "InferenceResult", "Moments", "NoLatent"]


class Moments(NamedTuple):
    """Mean and log variance of a diagonal normal distribution for each sentence, (B, D) each."""

    mean: Tensor
    log_variance: Tensor


class InferenceResult(NamedTuple):
    """Inferred z for each sentence of a batch.

    Attributes:
        z: (B, D) z⁺, detached, or differentiable in the encoder if that drew it.
        start: (B, D) initial state of its chain, or the mean of q(z|x).
        base_kl: (B, D) KL(q(z_d|x) ‖ p0(z_d)) in nats; None if q has no density.
    """

    z: Tensor
    start: Tensor
    base_kl: Tensor | None = None


class Inference(Protocol):
    """Draws z⁺ given x for one batch, and provides the resulting terms of the loss."""

    @property
    def chain(self) -> Chain | None:
        """The chain on `target` that draws z⁺; None if there is none."""

    @property
    def moments(self) -> Callable[..., Moments] | None:
        """Function that returns the moments of q(z|x) = N(μ, diag σ²), with this method's arguments; None without q."""

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence of the batch.

        Args:
            batch: B sentences x.
            prior: p_α(z).
            generator: p_β(x|z).
            rng: draws the noise.
        """

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """Return the log density of z⁺, (B, D) → (B,) in nats, for `likelihood` = log p(x|·) of a batch."""

    def penalty(self, result: InferenceResult, prior: Prior) -> Tensor | float:
        """Return (B,) nats that the loss adds to −log p(x|z⁺)."""

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """Return figures of this batch's inference for reports, as means over its rows."""


@dataclass(frozen=True)
class NoLatent:
    """Inference of a language model: z is the empty vector, and log p(x|z) is log p(x).

    It also serves a model that will have a z later: until then there is no z to draw, to fit a prior to, or to report.
    """

    chain: ClassVar[None] = None
    moments: ClassVar[None] = None

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Return the empty vector for each sentence, (B, 0)."""
        empty = next(generator.parameters()).new_empty(len(batch.lengths), 0)
        return InferenceResult(empty, empty)

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """Return log p(x), which does not depend on z."""
        return likelihood

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        """Return 0: the loss is −log p(x)."""
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """Return no figures."""
        return {}
