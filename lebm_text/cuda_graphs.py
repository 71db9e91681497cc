"""Functions of tensors as CUDA graphs: their hundreds of small kernels are recorded once and launched together.

A recording reads its arguments from fixed buffers and the parameters in place, so it is valid for every batch of a
shape and after every update. Random numbers are drawn outside, from the same streams as without a recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["Recordings", "Replay", "applies", "captured", "places", "recordings_of"]

Function = Callable[..., Tensor]


def applies(device: torch.device) -> bool:
    """Return whether functions of tensors on `device` are recorded."""
    return device.type == "cuda"


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
            if self._pool is None and device.type == "cuda":
                self._pool = torch.cuda.graph_pool_handle()
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
            reasons = _reasons(error)
            # The driver's own lack of memory is no OutOfMemoryError, nor is what torch says if that ends a recording.
            self.failed = not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in " ".join(reasons)
            self._pool = None  # torch may take it for one that is still recorded into, and refuse it
            warnings.warn(f"no CUDA graph, and so this runs slower: {reasons[-1]}", stacklevel=2)
            return None


_KEPT: WeakKeyDictionary[nn.Module, Recordings] = WeakKeyDictionary()
_ONE_BATCH = Recordings()  # for recordings that are not kept


def recordings_of(module: nn.Module) -> Recordings:
    """Return the recordings that live as long as `module`, whose parameters they read."""
    return _KEPT.setdefault(module, Recordings())


def places(tensors: Iterable[Tensor]) -> Hashable:
    """Return where tensors lie, for the key of a function that reads them in place."""
    return tuple((each.data_ptr(), each.shape) for each in tensors)


def captured(function: Callable[[Tensor], Tensor], like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return `function` recorded for tensors of the shape, type and device of `like`, with its other inputs as of now.

    For functions that are valid for one batch only. If a recording fails, functions are called directly, now and
    later; if it lacked memory, only now.
    """
    if _ONE_BATCH.failed or not applies(like.device):
        return function
    return _ONE_BATCH.record(function, (like.clone(),)) or function


def _reasons(error: BaseException | None) -> list[str]:
    """Return what chained errors say, the first one last; torch's last one says only that there was an earlier one.

    In a function of its own: a variable for an error, where it was caught, would keep all tensors of the failed call.
    """
    reasons = []
    while error is not None:
        reasons.append(str(error))
        error = error.__context__
    return reasons


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
