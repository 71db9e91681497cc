"""log p(x|z) of one batch as a function of z: the part shared by the package's generators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from torch import Tensor

from lebm_text.models.modules import constant, require_version, version
from lebm_text.models.packing import Packing
from lebm_text.text.batching import Batch, PaddedBatch

__all__ = ["BatchLikelihood", "OfTokens"]

OfTokens: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # states (N, H) and targets (N,) → (N,)
G = TypeVar("G", bound=Any)


class BatchLikelihood(ABC, Generic[G]):
    """log p(x|z) of a fixed batch under fixed parameters, no dropout.

    Valid until the parameters change; a later call raises RuntimeError.
    """

    def __init__(self, generator: G, batch: Batch | PaddedBatch) -> None:
        self._generator: G = constant(generator)
        self._made = version(self._generator)
        self._packing, self._output = Packing.of_batch(batch), self._generator.output_layer()

    def __call__(self, z: Tensor) -> Tensor:
        """Return log p(x|z) in nats, z (..., B, D) → (..., B); only z gets a gradient."""
        require_version(self._generator, self._made)
        return self._by_row(z, self._output.log_probs)

    def tangent(self, z: Tensor) -> Tensor:
        """Return values of the same shape and gradient, but meaningless in themselves: enough for a Langevin step."""
        require_version(self._generator, self._made)
        return self._by_row(z, self._output.tangent)

    @abstractmethod
    def _by_row(self, z: Tensor, of_tokens: OfTokens) -> Tensor:
        """Sum `of_tokens` of each token's state and target over each row: (..., B)."""
