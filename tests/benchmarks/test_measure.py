"""Turns, medians and the memory of a fresh process."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from benchmarks.measure import interleaved, matmul, peak_memory


def test_contestants_take_turns_and_the_first_round_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def runs(name: str, seconds: list[float]) -> Callable[[], None]:
        def run() -> None:
            calls.append(name)
            clock[0] += seconds.pop(0)

        return run

    found = interleaved({"a": runs("a", [90.0, 1.0, 7.0, 2.0]), "b": runs("b", [90.0, 5.0, 4.0, 6.0])}, 3)
    assert calls == ["a", "b"] * 4
    assert found == pytest.approx({"a": 2.0, "b": 5.0})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_is_of_the_size_and_type_asked_for(dtype: torch.dtype) -> None:
    out = matmul(6, dtype)()
    assert isinstance(out, torch.Tensor)
    assert (tuple(out.shape), out.dtype) == ((6, 6), dtype)


def fills(megabytes: int) -> Callable[[], object]:
    """Holds 100 MB, then briefly so many more."""
    held = torch.ones(100 * 2**18)
    return lambda: torch.ones(megabytes * 2**18).sum() + held[0]


def test_memory_is_that_of_the_step_in_a_fresh_process() -> None:
    here = torch.ones(400 * 2**18)  # of no concern to the other process
    memory = peak_memory(fills, 200)
    assert 195 < memory["step"] < 280
    assert memory["process"] >= memory["step"] + 100
    assert float(here[-1]) == 1
