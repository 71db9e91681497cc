"""Attention on a GPU, and the cache of partial sentences: keys and values, so that nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AttentionState", "without_cudnn_attention"]


@contextmanager
def without_cudnn_attention(device: torch.device) -> Iterator[None]:
    """Keep `F.scaled_dot_product_attention` on `device` from cuDNN, which torch 2.11 prefers on an H100.

    It builds a plan for each new shape, which takes about half a second each way: batches have many shapes, and each
    step of decoding has its own.
    """
    if device.type != "cuda" or not torch.backends.cuda.cudnn_sdp_enabled():  # type: ignore[no-untyped-call]
        yield
        return
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


@dataclass(frozen=True)
class AttentionState:
    """Cached keys and values of B partial sentences of any lengths.

    Attributes:
        memory: keys, then values, of each layer, (B, heads, t, d) each; a row uses the last `length` of the t columns.
        length: (B,) columns in use.
    """

    memory: tuple[Tensor, ...]
    length: Tensor

    def select(self, rows: Tensor) -> Self:
        """Return the state of the rows with these indices, in that order; repeats are allowed."""
        length = self.length[rows]
        longest = int(length.max()) if len(length) else 0
        return replace(
            self, memory=tuple(each[rows][:, :, each.shape[2] - longest :] for each in self.memory), length=length
        )

    def join(self, other: Self) -> Self:
        """Return the rows of this state followed by those of `other`, under the same weights."""
        longest = max(self.n_columns, other.n_columns)
        ours, theirs = ((F.pad(x, (0, 0, longest - x.shape[2], 0)) for x in s.memory) for s in (self, other))
        memory = tuple(torch.cat(pair) for pair in zip(ours, theirs, strict=True))
        return replace(self, memory=memory, length=torch.cat([self.length, other.length]))

    @property
    def n_columns(self) -> int:
        """t, the number of columns."""
        return self.memory[0].shape[2] if self.memory else 0

    def seen(self, n: int) -> Tensor:
        """Return which columns n new vectors of a row attend to, (B, n, t + n): the row's own, and earlier new ones."""
        column = torch.arange(self.n_columns + n, device=self.length.device)
        first = self.n_columns - self.length  # (B,) earlier columns are padding
        return (column >= first[:, None, None]) & (column <= column[self.n_columns :, None])
