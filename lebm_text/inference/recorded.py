r"""Langevin chains on a GPU as CUDA graphs, each recorded for batches of one shape.

What a chain computes from its batch is part of the recording; noise is drawn outside, from the same streams as for an
unrecorded chain, and copied to the device at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import places, recordings_of
from lebm_text.models.base import LogDensity
from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.langevin import gradient, langevin_step
from lebm_text.text.batching import padded_rows

__all__ = ["StaticDensity", "static_chain"]

# Steps of a chain per recording, which a longer chain replays several times: for each of the hundreds of operations of
# a step the driver keeps memory of the device (docs/decisions/0005).
STEPS_AT_ONCE = 10
NOISE_AT_ONCE = 1 << 23  # random numbers drawn at a time


@dataclass(frozen=True)
class StaticDensity:
    """A log density determined by parameters and by tensors of fixed shapes.

    Attributes:
        modules: those whose parameters it reads; recordings are kept as long as the last of them.
        make: maps `tensors`, or others of their shapes, to the log density of z (R, D), all on the device.
        tensors: on the device.
        n_rows: R, at least the number of chains.
    """

    modules: tuple[Any, ...]
    make: Callable[..., LogDensity]
    tensors: tuple[Tensor, ...]
    n_rows: int

    @classmethod
    def of(cls, logdensity: LogDensity, z: Tensor) -> StaticDensity | None:
        """Wrap a module's own log density, which depends on nothing else, for z (..., D); None for other functions."""
        owner = getattr(logdensity, "__self__", None)
        if not (isinstance(owner, nn.Module) and cuda_graphs.applies(z.device)):
            return None
        return cls((owner,), lambda: logdensity, (), padded_rows(z.shape[:-1].numel()))

    @property
    def key(self) -> Hashable:
        """Return what a recording depends on besides the shapes of `tensors`, including parameter addresses."""
        kept = [each for module in self.modules for each in (*module.parameters(), *module.buffers())]
        return (*map(type, self.modules), places(kept))


def static_chain(
    density: StaticDensity, z: Tensor, *, step_sizes: Sequence[float], noise_scale: float, rng: Rng
) -> Tensor:
    """Return the final states of Langevin chains started at z, with the same noise as the unrecorded chain.

    Args:
        density: of the chains.
        z: (..., D) initial states.
        step_sizes: s of each step.
        noise_scale: n, a standard deviation.
        rng: draws the noise.
    """
    recordings, rows = recordings_of(density.modules[-1]), z.detach().reshape(-1, z.shape[-1])
    state = F.pad(rows, (0, 0, 0, density.n_rows - len(rows)))
    most = min(STEPS_AT_ONCE, max(1, NOISE_AT_ONCE // max(1, state.numel())))
    at_once = -(-len(step_sizes) // max(1, -(-len(step_sizes) // most)))  # equal parts share a recording
    for first in range(0, len(step_sizes), at_once):
        sizes = tuple(step_sizes[first : first + at_once])
        noise = _draw(rng, len(sizes), z.shape, density.n_rows, z.device).mul_(noise_scale)
        steps = partial(_steps, density.make, sizes)
        state = recordings((sizes, density.key), steps, state, noise, *density.tensors)
    return state[: len(rows)].view(z.shape)


def _steps(
    make: Callable[..., LogDensity], step_sizes: Sequence[float], z: Tensor, noise: Tensor, *tensors: Tensor
) -> Tensor:
    logdensity = make(*tensors)
    for size, drawn in zip(step_sizes, noise.to(z.dtype), strict=True):
        z = langevin_step(z, gradient(logdensity, z), drawn, step_size=size)
    return z


def _draw(rng: Rng, n_steps: int, shape: torch.Size, n_rows: int, device: torch.device) -> Tensor:
    """Draw N(0, 1) in float32 for K steps, (K, R, D), 0 in surplus rows; in pinned memory unless `rng` is on a device.

    Each step is drawn separately, since one large draw from a stream may differ from several small ones.
    """
    on = rng.device if isinstance(rng, torch.Generator) else torch.device("cpu")
    pinned = device.type == "cuda" and on.type == "cpu"
    noise = torch.zeros(n_steps, n_rows, shape[-1], device=on, pin_memory=pinned)
    for step in noise:
        step[: shape[:-1].numel()] = draw_normal(rng, shape).view(-1, shape[-1])
    return noise
