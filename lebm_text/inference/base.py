"""The call that every inference method answers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import Prior
from lebm_text.text.batching import Batch

__all__ = ["Inference", "InferenceResult"]


class InferenceResult(NamedTuple):
    """z⁺ (B, D), where its chain began (B, D), and the chain's trace (K1 + 1, B, D) if kept."""

    z: Tensor
    start: Tensor
    trace: Tensor | None = None


class Inference(Protocol):
    """x → z⁺ for one batch."""

    def __call__(
        self, batch: Batch, prior: Prior, generator: LSTMGenerator, *, rng: torch.Generator
    ) -> InferenceResult: ...
