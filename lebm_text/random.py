"""Standard noise from a torch.Generator, or from one stream for each item of a batch, or rows of a larger batch's."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["KeyedRng", "Noise", "Rng", "RowsRng", "draw_normal", "draw_uniform", "stream"]

STOCK = 256  # numbers a stream draws at a time; part of what a seed means


class Noise(Protocol):
    """Where standard noise comes from, in float32."""

    def normal(self, shape: Iterable[int]) -> Tensor:
        """N(0, 1) draws."""

    def uniform(self, shape: Iterable[int]) -> Tensor:
        """Uniform draws on [0, 1)."""


class KeyedRng:
    """One stream of each kind an item, keyed by (seed, index): what an item draws does not depend on its neighbours.

    Draws have the items on their first axis and are made on the CPU, many at a time: small draws from each of
    many generators would cost more than a step of a small model.
    """

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        self._normal = _Streams([_mix(seed, 2 * index) for index in indices], torch.randn)
        self._uniform = _Streams([_mix(seed, 2 * index + 1) for index in indices], torch.rand)

    def normal(self, shape: Iterable[int]) -> Tensor:
        return self._normal.draw(tuple(shape))

    def uniform(self, shape: Iterable[int]) -> Tensor:
        return self._uniform.draw(tuple(shape))


class RowsRng:
    """Some rows of the draws for a larger batch: whoever takes the others has the rest of the same noise.

    Draws have the rows on their first axis. Each moves `rng` on by the draws of all `n_rows`.
    """

    def __init__(self, rng: torch.Generator, rows: Tensor, n_rows: int) -> None:
        self._rng, self._rows, self._n_rows = rng, rows.to(rng.device), n_rows

    def normal(self, shape: Iterable[int]) -> Tensor:
        return self._draw(torch.randn, tuple(shape))

    def uniform(self, shape: Iterable[int]) -> Tensor:
        return self._draw(torch.rand, tuple(shape))

    def _draw(self, function: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        if not shape or shape[0] != len(self._rows):
            raise ValueError(f"the first axis must be the {len(self._rows)} rows, got shape {shape}")
        return function((self._n_rows, *shape[1:]), generator=self._rng, device=self._rng.device)[self._rows]


class _Streams:
    """Generators side by side, each with a stock of `STOCK` numbers that is drawn at once."""

    def __init__(self, keys: Sequence[int], function: Callable[..., Tensor]) -> None:
        self._generators = [torch.Generator().manual_seed(key) for key in keys]
        self._function = function
        self._stock = torch.empty(len(keys), 0)

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        if not shape or shape[0] != len(self._generators):
            raise ValueError(f"the first axis must be the {len(self._generators)} items, got shape {shape}")
        n = math.prod(shape[1:])
        parts = [self._stock]
        while sum(part.shape[1] for part in parts) < n:
            parts.append(torch.stack([self._function(STOCK, generator=generator) for generator in self._generators]))
        stock = torch.cat(parts, dim=1) if len(parts) > 1 else self._stock
        self._stock = stock[:, n:]
        return stock[:, :n].reshape(shape)


Rng = torch.Generator | Noise


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose, independent of those that the same seed gives for others."""
    return torch.Generator(device).manual_seed(_mix(seed, zlib.crc32(purpose.encode())))


def draw_normal(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """N(0, 1) draws in float32 on `device`."""
    if not isinstance(rng, torch.Generator):
        return rng.normal(shape).to(device)
    return torch.randn(tuple(shape), generator=rng, device=rng.device).to(device)


def draw_uniform(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """Uniform draws on [0, 1) in float32 on `device`."""
    if not isinstance(rng, torch.Generator):
        return rng.uniform(shape).to(device)
    return torch.rand(tuple(shape), generator=rng, device=rng.device).to(device)


def _mix(seed: int, index: int) -> int:
    """A 63-bit key of the pair (SplitMix64's finaliser: Steele, Lea and Flood, 2014), so that near seeds are far."""
    mask = (1 << 64) - 1
    value = (int(seed) * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1
