"""D = 0: z is the empty vector, known without inference, and log p(x|z) is log p(x)."""

from __future__ import annotations

from dataclasses import dataclass

from lebm_text.inference.base import InferenceResult
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import Prior
from lebm_text.random import Rng
from lebm_text.text.batching import Batch

__all__ = ["NoLatent"]


@dataclass(frozen=True)
class NoLatent:
    """What a language model has in the place of inference."""

    def __call__(self, batch: Batch, prior: Prior, generator: LSTMGenerator, *, rng: Rng) -> InferenceResult:
        """The empty vector for each sentence, (B, 0)."""
        empty = generator.embedding.new_empty(len(batch.lengths), 0)
        return InferenceResult(empty, empty)

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        """None: −log p(x) is the loss."""
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, float]:
        """Nothing."""
        return {}
