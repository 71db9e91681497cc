"""Packed layout of a batch: the positions of its tokens when all rows are computed in parallel, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lebm_text.text.batching import Batch, PaddedBatch
from lebm_text.transfer import send

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """Packed layout of sentences sorted longest first: time-major, no padded position is ever computed.

    Attributes:
        batch_sizes: n_t, the rows still active at each time step; N = Σ_t n_t tokens in total.
        row: (N,) the row of each packed token.
        time: (N,) its position in the row.
        inside: (N,) which positions count; None: all.
    """

    batch_sizes: tuple[int, ...]
    row: Tensor
    time: Tensor
    inside: Tensor | None = None

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> Packing:
        """Return the packing of rows with the given lengths (B,), on the CPU and longest first.

        Raises:
            ValueError: lengths increase, or one is below 1.
        """
        sizes = lengths.numpy()
        if len(sizes) == 0 or sizes[-1] < 1 or (sizes[1:] > sizes[:-1]).any():
            raise ValueError(f"lengths must be >= 1 and sorted longest first, got {lengths.tolist()}")
        running = np.arange(sizes[0])[:, None] < sizes  # (T, B)
        time, row = (send(torch.from_numpy(place), device) for place in running.nonzero())
        return cls(tuple(running.sum(1).tolist()), row, time)

    @classmethod
    def of_batch(cls, batch: Batch | PaddedBatch) -> Packing:
        """Return `of`, or `padded` for a padded batch."""
        if isinstance(batch, PaddedBatch):
            return cls.padded(batch.lengths, batch.tokens.shape[1])
        return cls.of(batch.lengths, batch.tokens.device)

    @classmethod
    def padded(cls, lengths: Tensor, width: int) -> Packing:
        """Return the packing of rows that are all computed to the end; positions from a row's length on do not count.

        These positions come after all that count and cannot affect them. Everything but `inside` follows from the
        shape, and the host reads no tensor: a CUDA graph of the computation is valid for all batches of the shape.

        Args:
            lengths: (B,) on the device, in any order; 0 for a row without a sentence.
            width: number of positions per row.
        """
        place = torch.arange(len(lengths) * width, device=lengths.device)
        row, time = place % len(lengths), place // len(lengths)
        return cls((len(lengths),) * width, row, time, time < lengths[row])

    def pack(self, padded: Tensor) -> Tensor:
        """Pack (B, T) → (N,)."""
        return padded[self.row, self.time]

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Sum (N, …) values over each row, (B, …); with `inside` always in the same order."""
        if self.inside is not None:
            outside = ~self.inside.view(-1, *[1] * (values.dim() - 1))
            return values.masked_fill(outside, 0.0).view(len(self.batch_sizes), -1, *values.shape[1:]).sum(0)
        return values.new_zeros(self.batch_sizes[0], *values.shape[1:]).index_add(0, self.row, values)

    def repeat(self, copies: int) -> Packing:
        """Return the packing with `copies` adjacent copies of each row."""
        if copies == 1:
            return self
        which = torch.arange(copies, device=self.row.device)
        return replace(
            self,
            batch_sizes=tuple(n * copies for n in self.batch_sizes),
            row=(self.row.unsqueeze(1) * copies + which).flatten(),
            time=self.time.repeat_interleave(copies),
            inside=None if self.inside is None else self.inside.repeat_interleave(copies),
        )
