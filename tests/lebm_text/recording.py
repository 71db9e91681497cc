"""A recording for tests without a GPU: the operations of one call, written down and run again on the same tensors.

As in a CUDA graph no line of Python runs in a replay, every tensor keeps its place, and arguments and parameters are
read where they lie. What would make the host look at a tensor is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import Replay
from lebm_text.models import softmax

LOOKS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would load its compiler, which takes seconds, only to keep it away from here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in LOOKS:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        read = {_place(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        self.calls.append((func, args, kwargs or {}, [] if {*map(_place, made)} & read else made))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self.calls:
            again = func(*args, **kwargs)
            for mine, new in zip(made, tree_leaves(again), strict=False):
                mine.copy_(new)


class NoLook(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what makes the host wait for a device. Whole numbers are lengths, which the host has."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        length = func.overloadpacket is torch.ops.aten._local_scalar_dense and args[0].dtype == torch.int64
        if func.overloadpacket in LOOKS and not length:
            raise AssertionError(f"{func} in an update")
        return func(*args, **(kwargs or {}))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def trace(function: Callable[..., Tensor], given: tuple[Tensor, ...], pool: Any) -> Replay:
    """In place of `cuda_graphs._record`."""
    with _Tape() as tape:
        result = function(*given)
    return Replay(given, result, tape.replay)


def record_on_cpu(monkeypatch: pytest.MonkeyPatch, record: Callable[..., Replay] = trace) -> None:
    """Do on a CPU what is done on a GPU, with `record` for the graph."""
    monkeypatch.setattr(cuda_graphs, "applies", lambda device: True)
    monkeypatch.setattr(cuda_graphs, "_ONE_BATCH", cuda_graphs.Recordings())
    monkeypatch.setattr(cuda_graphs, "_record", record)
    monkeypatch.setattr(softmax, "_host_may_wait", lambda device: False)
