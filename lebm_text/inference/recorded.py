r"""Langevin chains on a GPU as CUDA graphs: their hundreds of small kernels are recorded once and launched together.

A recording reads its arguments from fixed buffers and the parameters in place, so it is valid for
every batch of a shape and after every update. What a chain computes from its batch is part of it; noise is
drawn outside, from the same streams as for an unrecorded chain, and copied to the device at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.base import LogDensity
from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.langevin import gradient, langevin_step
from lebm_text.text.batching import padded_rows

__all__ = ["Recordings", "Replay", "StaticDensity", "applies", "captured", "recordings_of", "static_chain"]

Function = Callable[..., Tensor]

# Steps of a chain per recording, which a longer chain replays several times: for each of the hundreds of operations of
# a step the driver keeps memory of the device (docs/decisions/0005).
STEPS_AT_ONCE = 10
NOISE_AT_ONCE = 1 << 23  # random numbers drawn at a time


def applies(device: torch.device) -> bool:
    """Return whether chains on `device` are recorded."""
    return device.type == "cuda"


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
        if not (isinstance(owner, nn.Module) and applies(z.device)):
            return None
        return cls((owner,), lambda: logdensity, (), padded_rows(z.shape[:-1].numel()))

    @property
    def key(self) -> Hashable:
        """Return what a recording depends on besides the shapes of `tensors`, including parameter addresses."""
        kept = [each for module in self.modules for each in (*module.parameters(), *module.buffers())]
        places = [(each.data_ptr(), each.shape) for each in kept]
        return (*map(type, self.modules), *places)


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


@dataclass(frozen=True)
class Replay:
    """A function recorded as a CUDA graph: it reads `given`, and `replay` writes its value to `result`."""

    given: tuple[Tensor, ...]
    result: Tensor
    replay: Callable[[], object]

    def __call__(self, *values: Tensor) -> Tensor:
        for mine, value in zip(self.given, values, strict=True):
            mine.copy_(value, non_blocking=True)
        self.replay()
        return self.result.clone()


class Recordings:
    """Functions of tensors, recorded once for each key and set of shapes, in one shared memory pool.

    They are replayed one after the other, so a replay may overwrite what another one left in the pool.
    Once a recording has failed, functions are called directly; if it lacked memory, only those of its key and shapes.
    """

    def __init__(self) -> None:
        self.kept: dict[Hashable, Replay] = {}
        self.failed = False
        self._too_large: set[Hashable] = set()
        self._pool: Any = None

    def __call__(self, key: Hashable, function: Function, *arguments: Tensor) -> Tensor:
        """Return `function(*arguments)`. Functions with equal keys must compute the same, from equal shapes."""
        device = arguments[0].device
        key = (key, *((argument.shape, argument.dtype) for argument in arguments))
        if key not in self.kept and key not in self._too_large and not self.failed and applies(device):
            if not self.kept and device.type == "cuda":
                self._pool = torch.cuda.graph_pool_handle()  # one that a failed recording has left is refused
            replay = self.record(function, tuple(argument.to(device, copy=True) for argument in arguments))
            if replay is None:
                self._too_large.add(key)
            else:
                self.kept[key] = replay
        if key in self.kept:
            return self.kept[key](*arguments)
        return function(*(argument.to(device, non_blocking=True) for argument in arguments))

    def record(self, function: Function, given: tuple[Tensor, ...]) -> Replay | None:
        """Record a function; return None, with a warning, if that fails."""
        try:
            return _record(function, given, self._pool)
        except RuntimeError as error:
            self.failed = not isinstance(error, torch.OutOfMemoryError)
            why = _first_reason(error)
            warnings.warn(f"no CUDA graph of a Langevin chain, which runs slower without one: {why}", stacklevel=2)
            return None


_KEPT: WeakKeyDictionary[nn.Module, Recordings] = WeakKeyDictionary()
_ONE_BATCH = Recordings()  # for recordings that are not kept


def recordings_of(module: nn.Module) -> Recordings:
    """Return the recordings that live as long as `module`, whose parameters they read."""
    return _KEPT.setdefault(module, Recordings())


def captured(function: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return `function` recorded for tensors of the shape, type and device of `like`, with its other inputs as of now.

    For functions that are valid for one batch only. If a recording fails, functions are called directly, now and
    later; if it lacked memory, only now.
    """
    if _ONE_BATCH.failed or not applies(like.device):
        return function
    return _ONE_BATCH.record(function, (like.clone(),)) or function


def _first_reason(error: BaseException) -> str:
    """Return what the first of chained errors says; torch's last one says only that there was an earlier one.

    In a function of its own: a variable for an error, where it was caught, would keep all tensors of the failed call.
    """
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _record(function: Function, given: tuple[Tensor, ...], pool: Any) -> Replay:
    pool = pool or torch.cuda.graph_pool_handle()
    with torch.cuda.device(given[0].device):
        here, aside, graph = torch.cuda.current_stream(), _aside(given[0].device), torch.cuda.CUDAGraph()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            function(*given)  # libraries must initialise at a first call before the recording
        here.wait_stream(aside)
        # cuBLAS keeps its workspaces for the next product on a stream. One from outside the recording could be freed
        # while in use, one from inside could be used outside: so it starts without any, and leaves none.
        torch._C._cuda_clearCublasWorkspaces()
        try:
            # The outer context restores this stream even if ending the recording fails.
            with torch.cuda.stream(here), torch.cuda.graph(graph, pool, aside, capture_error_mode="thread_local"):
                result = function(*given)
        except RuntimeError:
            _abandon(given[0].device.index, pool)
            raise
        finally:
            torch._C._cuda_clearCublasWorkspaces()
    return Replay(given, result, graph.replay)


def _abandon(device: int, pool: Any) -> None:
    """End a recording whose end has failed: before 2.12 torch would go on allocating from its memory, and keep it."""
    names = "_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"  # the second before 2.8
    with suppress(RuntimeError):  # if it has ended
        getattr(torch._C, names[not hasattr(torch._C, names[0])])(device, pool)
        torch._C._cuda_releasePool(device, pool)


@cache
def _aside(device: torch.device) -> Any:
    """Return the stream for recordings, always the same: libraries keep memory for each stream that they use."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
