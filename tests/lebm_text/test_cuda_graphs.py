"""Recordings of functions: what they compute, whose memory they use, and what happens if one fails."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import Recordings, Replay, captured
from lebm_text.samplers.langevin import gradient

from .recording import record_on_cpu, trace
from .toy import normal


def _square(x: Tensor) -> Tensor:
    return x * x


def test_a_cpu_records_nothing() -> None:
    assert captured(_square, torch.zeros(2)) is _square
    assert torch.equal(Recordings()("square", _square, torch.tensor([3.0])), torch.tensor([9.0]))


@pytest.mark.parametrize("name", ["_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"])
def test_a_recording_that_cannot_end_gives_its_memory_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one name or the other, as torch has it. One that has ended belongs to a graph, which gives it back itself."""
    done: list[tuple[str, int, str]] = []
    monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool", raising=False)
    for function in (name, "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, function, lambda *of, which=function: done.append((which, *of)), raising=False)
    cuda_graphs._abandon(3, "pool")
    assert done == [(name, 3, "pool"), ("_cuda_releasePool", 3, "pool")]

    def refuse(*of: object) -> None:
        raise RuntimeError("not currently recording")

    monkeypatch.setattr(torch._C, name, refuse)
    cuda_graphs._abandon(3, "pool")
    assert len(done) == 2


def _of_torch() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def _of_the_driver() -> None:
    raise RuntimeError("CUDA error: out of memory")


def _while_recording() -> None:
    try:
        _of_torch()
    finally:
        raise RuntimeError("operation failed due to a previous error")


@pytest.mark.parametrize("lack", [_of_torch, _of_the_driver, _while_recording])
def test_what_finds_no_memory_for_its_recording_runs_without_and_others_are_recorded(
    lack: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function: Any, given: Any, pool: object) -> Replay:
        if len(given[0]) > 2:
            lack()
        return trace(function, given, pool)

    record_on_cpu(monkeypatch, refuse)
    recordings, few, many = Recordings(), torch.tensor([3.0]), torch.ones(3)
    with pytest.warns(UserWarning, match="out of memory") as caught:
        assert torch.equal(recordings("square", _square, many), many)
    assert torch.equal(recordings("square", _square, many), many)  # not tried again
    assert torch.equal(recordings("square", _square, few), torch.tensor([9.0]))
    assert (len(caught), len(recordings.kept), recordings.failed) == (1, 1, False)
    with pytest.warns(UserWarning, match="out of memory"):
        assert captured(_square, many) is _square
    assert isinstance(captured(_square, few), Replay)


def test_no_recording_follows_a_failed_one_into_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch may take it for one that is still recorded into."""
    pools: list[object] = []

    def refuse(function: Any, given: Any, pool: object) -> Replay:
        pools.append(pool)
        if len(given[0]) > 2:
            _of_torch()
        return trace(function, given, pool)

    record_on_cpu(monkeypatch, refuse)
    recordings = Recordings()
    recordings._pool = "a pool"
    recordings("square", _square, torch.ones(1))
    with pytest.warns(UserWarning, match="out of memory"):
        recordings("square", _square, torch.ones(3))
    recordings("square", _square, torch.ones(2))
    assert pools == ["a pool", "a pool", None]  # on a GPU a new one


def test_a_failed_recording_keeps_no_tensor_of_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU they are what filled its memory; those of a cycle would stay until the garbage is collected."""
    seen: list[Any] = []

    def refuse(function: object, given: object, pool: object) -> Replay:
        large = torch.zeros(3)
        seen.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    record_on_cpu(monkeypatch, refuse)
    gc.disable()
    try:
        with pytest.warns(UserWarning, match="out of memory"):
            Recordings()("square", _square, torch.ones(2))
        assert seen[0]() is None
    finally:
        gc.enable()


def test_the_first_of_the_errors_of_a_recording_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: object, given: object, pool: object) -> Replay:
        try:
            raise RuntimeError("not permitted when stream is capturing")
        finally:
            raise RuntimeError("operation failed due to a previous error")

    record_on_cpu(monkeypatch, refuse)
    with pytest.warns(UserWarning, match=r"runs slower: not permitted"):
        captured(_square, torch.zeros(2))


def test_a_replay_computes_from_what_it_is_given_and_keeps_earlier_results() -> None:
    replay = trace(_square, (torch.zeros(3),), None)
    first, second = normal(3, seed=1).float(), normal(3, seed=2).float()
    kept = replay(first)
    torch.testing.assert_close(replay(second), _square(second))
    torch.testing.assert_close(kept, _square(first))


@pytest.mark.gpu
def test_a_recorded_gradient_is_the_gradient() -> None:
    weight = normal(4, 4, seed=3).float().cuda()

    def of(z: Tensor) -> Tensor:
        return gradient(lambda z: (z @ weight).tanh().sum(-1), z)

    record = captured(of, torch.zeros(5, 4, device="cuda"))
    assert isinstance(record, Replay)
    for seed in (4, 5):
        z = normal(5, 4, seed=seed).float().cuda()
        torch.testing.assert_close(record(z), of(z))
