"""D = 0: z is the empty vector, known without inference, and log p(x|z) is log p(x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lebm_text.inference.base import InferenceResult
from lebm_text.models.base import Generator, LogDensity, Prior
from lebm_text.random import Rng
from lebm_text.text.batching import Batch

__all__ = ["NoLatent"]


@dataclass(frozen=True)
class NoLatent:
    """What a language model has in the place of inference."""

    chain: ClassVar[None] = None

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
