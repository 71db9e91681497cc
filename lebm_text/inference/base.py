"""The call that every inference method answers, and the answer where there is nothing to infer."""

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
    """What is known of z given each sentence of a batch.

    Attributes:
        z: (B, D) z⁺, detached, or differentiable in the encoder if that drew it.
        start: (B, D) where its chain began, or the mean of q(z|x).
        base_kl: (B, D) KL(q(z_d|x) ‖ p0(z_d)) in nats, where q has a density.
    """

    z: Tensor
    start: Tensor
    base_kl: Tensor | None = None


class Inference(Protocol):
    """x → z⁺ for one batch, and what follows from it for the loss."""

    @property
    def chain(self) -> Chain | None:
        """The chain on `target` that draws z⁺; None where none does."""

    @property
    def moments(self) -> Callable[..., Moments] | None:
        """What gives those of q(z|x) = N(μ, diag σ²), called as this is; None where z⁺ has no density that is known."""

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence of the batch."""

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """The log density that z⁺ stands for, (B, D) → (B,) in nats, for `likelihood` = log p(x|·) of a batch."""

    def penalty(self, result: InferenceResult, prior: Prior) -> Tensor | float:
        """(B,) nats that the loss adds to −log p(x|z⁺)."""

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """What a report says of this batch's inference, as means over its rows."""


@dataclass(frozen=True)
class NoLatent:
    """Inference of a language model: z is the empty vector, and log p(x|z) is log p(x).

    Also of one that will have a z and does not yet: there is none to draw, to learn a prior of, or to report.
    """

    chain: ClassVar[None] = None
    moments: ClassVar[None] = None

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """The empty vector for each sentence, (B, 0)."""
        empty = next(generator.parameters()).new_empty(len(batch.lengths), 0)
        return InferenceResult(empty, empty)

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """log p(x), of which there is one value."""
        return likelihood

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        """None: −log p(x) is the loss."""
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """Nothing."""
        return {}
