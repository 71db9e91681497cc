"""Packed layout of a batch of sentences: time-major, no padding (see `nn.lstm`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """Where each of N tokens stands.

    Attributes:
        batch_sizes: running rows at each time step.
        row: (N,) the row of each packed token.
        time: (N,) its position in the row.
        n_rows: B.
        copies: how many copies of each sentence stand side by side.
    """

    batch_sizes: tuple[int, ...]
    row: Tensor
    time: Tensor
    n_rows: int
    copies: int = 1

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> Packing:
        """The packing of rows with the given lengths (B,), on the CPU and longest first.

        Raises:
            ValueError: lengths rise, or one is below 1.
        """
        if lengths.numel() == 0 or int(lengths[-1]) < 1 or bool((lengths[1:] > lengths[:-1]).any()):
            raise ValueError(f"lengths must be >= 1 and sorted longest first, got {lengths.tolist()}")
        running = torch.arange(int(lengths[0])).unsqueeze(1) < lengths.unsqueeze(0)  # (T, B)
        time, row = running.nonzero(as_tuple=True)
        sizes = tuple(running.sum(1).tolist())
        return cls(sizes, row.to(device), time.to(device), lengths.numel())

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T) → (N,)."""
        return padded[self.row, self.time]

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Sum (N, …) values over each row, (B · copies, …)."""
        return values.new_zeros(self.n_rows * self.copies, *values.shape[1:]).index_add(0, self.row, values)

    def repeat(self, copies: int) -> Packing:
        """The packing in which `copies` copies of each row stand side by side."""
        if copies == 1:
            return self
        which = torch.arange(copies, device=self.row.device)
        return Packing(
            tuple(n * copies for n in self.batch_sizes),
            (self.row.unsqueeze(1) * copies + which).flatten(),
            self.time.repeat_interleave(copies),
            self.n_rows,
            copies,
        )
