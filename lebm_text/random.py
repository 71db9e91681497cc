r"""Standard noise from a torch.Generator, from one stream per item of a batch, or for some rows of a larger batch.

An item's numbers are Philox4x32-10 of a counter (Salmon, Moraes, Dror and Shaw, SC 2011): the key is the seed, the
counter (position, kind, index), with 64 bits of index. So no two items of a seed share a stream, however many there
are; a torch.Generator uses only 32 bits of its seed on the CPU. It is implemented here because a torch generator per
item took half as much time again, and a numpy one (`Philox(key=…)`) four times as much.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.transfer import send

__all__ = ["KeyedRng", "Noise", "Rng", "RowsRng", "draw_normal", "draw_uniform", "stream"]

STOCK = 256  # numbers that a stream draws at a time
WORDS = 4  # 32-bit numbers per counter

Words = NDArray[np.uint64]


class Noise(Protocol):
    """A source of standard noise, in float32."""

    def normal(self, shape: Iterable[int]) -> Tensor:
        """Return N(0, 1) draws."""

    def uniform(self, shape: Iterable[int]) -> Tensor:
        """Return uniform draws on [0, 1)."""


class KeyedRng:
    """One stream of each kind per item, keyed by (seed, index): an item's draws do not depend on the other items.

    Draws have the items on their first axis and are made on the CPU, many at a time: many small draws
    would cost more than a step of a small model.
    """

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        self._normal = _Streams(seed, indices, 0, _normal)
        self._uniform = _Streams(seed, indices, 1, _uniform)

    def normal(self, shape: Iterable[int]) -> Tensor:
        return self._normal.draw(tuple(shape))

    def uniform(self, shape: Iterable[int]) -> Tensor:
        return self._uniform.draw(tuple(shape))


class RowsRng:
    """Some rows of the draws for a larger batch; the other rows give the rest of the same noise.

    Draws have the rows on their first axis. Each advances `rng` by the draws of all `n_rows`.
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
    """The streams of one kind of some items, each with a stock of numbers drawn in advance."""

    def __init__(self, seed: int, indices: Sequence[int], kind: int, numbers: Callable[[Words], Tensor]) -> None:
        self._seed, self._kind, self._numbers = seed, kind, numbers
        self._indices = np.array([int(index) & _64_BITS for index in indices], dtype=np.uint64)
        self._position = 0  # of the next counter
        self._stock = torch.empty(len(indices), 0)

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        if not shape or shape[0] != len(self._indices):
            raise ValueError(f"the first axis must be the {len(self._indices)} items, got shape {shape}")
        n = math.prod(shape[1:])
        if (lacking := n - self._stock.shape[1]) > 0:
            count = -(-max(lacking, STOCK) // WORDS)
            words = _philox(self._seed, self._indices, self._kind, range(self._position, self._position + count))
            self._position += count
            self._stock = torch.cat([self._stock, self._numbers(words)], dim=1)
        drawn, self._stock = self._stock[:, :n], self._stock[:, n:]
        return drawn.reshape(shape)


_64_BITS, _32_BITS, _32 = (1 << 64) - 1, np.uint64(0xFFFFFFFF), np.uint64(32)
_FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def _philox(seed: int, indices: Words, kind: int, positions: range) -> Words:
    """Return consecutive 32-bit words of the stream of each index, (B, `WORDS` × positions)."""
    key = [int(seed) & 0xFFFFFFFF, int(seed) >> 32 & 0xFFFFFFFF]
    shape = len(indices), len(positions)
    a = np.broadcast_to(np.arange(positions.start, positions.stop, dtype=np.uint64), shape)
    b = np.broadcast_to(np.uint64(kind), shape)
    c = np.broadcast_to((indices & _32_BITS)[:, None], shape)
    d = np.broadcast_to((indices >> _32)[:, None], shape)
    for _ in range(_ROUNDS):
        of_a, of_c = a * _FACTORS[0], c * _FACTORS[1]
        a, b = (of_c >> _32) ^ b ^ np.uint64(key[0]), of_c & _32_BITS
        c, d = (of_a >> _32) ^ d ^ np.uint64(key[1]), of_a & _32_BITS
        key = [(word + step) & 0xFFFFFFFF for word, step in zip(key, _WEYL, strict=True)]
    return np.stack([a, b, c, d], axis=-1).reshape(len(indices), -1)


def _uniform(words: Words) -> Tensor:
    """Convert the upper 24 bits, as many as float32 has, so that none is rounded to 1."""
    return torch.from_numpy((words >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24))


def _normal(words: Words) -> Tensor:
    """Convert pairs of words to normal pairs (Box and Muller, 1958), in float64, so that machines agree in float32."""
    first, second = words[:, ::2], words[:, 1::2]
    radius = np.sqrt(-2 * np.log((first + np.uint64(1)) * 2.0**-32))
    angle = second * (2 * math.pi * 2.0**-32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return torch.from_numpy(pairs.reshape(words.shape).astype(np.float32))


Rng = torch.Generator | Noise


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one purpose, different from those of the same seed for other purposes.

    On the CPU it is one of 2^32: enough for a few purposes, too few for one stream per sentence of a large text.
    """
    return torch.Generator(device).manual_seed(_mix(seed, zlib.crc32(purpose.encode())))


def draw_normal(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """Return N(0, 1) draws in float32 on `device`."""
    if not isinstance(rng, torch.Generator):
        return send(rng.normal(shape), device)
    return send(torch.randn(tuple(shape), generator=rng, device=rng.device), device)


def draw_uniform(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """Return uniform draws on [0, 1) in float32 on `device`."""
    if not isinstance(rng, torch.Generator):
        return send(rng.uniform(shape), device)
    return send(torch.rand(tuple(shape), generator=rng, device=rng.device), device)


def _mix(seed: int, index: int) -> int:
    """Return a 63-bit key of the pair (SplitMix64's finaliser: Steele, Lea and Flood, 2014)."""
    mask = (1 << 64) - 1
    value = (int(seed) * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1
