"""Standard noise from a torch.Generator, or from one stream for each item of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["KeyedRng", "Rng", "draw_normal", "draw_uniform"]


@dataclass(frozen=True)
class KeyedRng:
    """One stream an item, keyed by (seed, index): what an item draws does not depend on its neighbours.

    Draws have the items on their first axis and are made on the CPU.
    """

    seed: int
    indices: tuple[int, ...]
    _streams: list[torch.Generator] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        streams = [torch.Generator().manual_seed(_mix(self.seed, index)) for index in self.indices]
        object.__setattr__(self, "_streams", streams)

    def normal(self, shape: Iterable[int]) -> Tensor:
        """N(0, 1) draws of `shape`, whose first axis is the items."""
        return self._draw(tuple(shape), torch.randn)

    def uniform(self, shape: Iterable[int]) -> Tensor:
        """Uniform draws on [0, 1) of `shape`, whose first axis is the items."""
        return self._draw(tuple(shape), torch.rand)

    def _draw(self, shape: tuple[int, ...], function: Callable[..., Tensor]) -> Tensor:
        if not shape or shape[0] != len(self.indices):
            raise ValueError(f"the first axis must be the {len(self.indices)} items, got shape {shape}")
        return torch.stack([function(shape[1:], generator=stream) for stream in self._streams])


Rng = torch.Generator | KeyedRng


def draw_normal(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """N(0, 1) draws in float32 on `device`."""
    if isinstance(rng, KeyedRng):
        return rng.normal(shape).to(device)
    return torch.randn(tuple(shape), generator=rng, device=rng.device).to(device)


def draw_uniform(rng: Rng, shape: Iterable[int], device: torch.device | None = None) -> Tensor:
    """Uniform draws on [0, 1) in float32 on `device`."""
    if isinstance(rng, KeyedRng):
        return rng.uniform(shape).to(device)
    return torch.rand(tuple(shape), generator=rng, device=rng.device).to(device)


def _mix(seed: int, index: int) -> int:
    """A 63-bit key of the pair (SplitMix64's finaliser: Steele, Lea and Flood, 2014), so that near seeds are far."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return (value ^ (value >> 31)) >> 1
