"""A function of one tensor, replayed from a CUDA graph: hundreds of small kernels start as one.

Other devices run the function as it is, and so does CUDA if its capture fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Replay", "captured"]

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Replay:
    """A recorded function: it reads `given`, and `replay` leaves its value in `result`."""

    given: Tensor
    result: Tensor
    replay: Callable[[], object]

    def __call__(self, value: Tensor) -> Tensor:
        self.given.copy_(value)
        self.replay()
        return self.result.clone()


def captured(function: Function, like: Tensor) -> Function:
    """`function` for tensors of the shape, type and device of `like`.

    Whatever else it reads must stay where it is: a replay sees the parameters and the batch of the recording. Recording
    costs two calls, so it pays from about four.
    """
    if like.device.type != "cuda":
        return function
    try:
        return _record(function, like)
    except RuntimeError as error:
        warnings.warn(f"no CUDA graph of the Langevin step, which runs slower without one: {error}", stacklevel=2)
        return function


def _record(function: Function, like: Tensor) -> Replay:
    given = like.clone()
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        function(given)  # libraries that set themselves up at their first call must not do so while recording
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function(given)
    return Replay(given, result, graph.replay)
