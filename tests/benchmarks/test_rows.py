"""Rows of a contest: rates, ratios and shares of what was timed, and memory, are what their names say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from benchmarks import rows


def test_every_figure_of_a_row_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"baseline": 8.0, "baseline_autograd": 5.0, "float32": 2.0, "bf16": 1.0}
    seconds |= {"matmul float32": 0.5, "matmul bf16": 0.25}
    memory = {"baseline": (90.0, 30.0), "float32": (70.0, 10.0), "bf16": (65.0, 5.0)}

    def interleaved(contestants: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
        assert (set(contestants), repetitions) == (set(seconds), 3)
        return seconds

    def peak_memory(_: object, name: str) -> dict[str, float]:
        process, step = memory[name]
        return {"process": process, "step": step}

    monkeypatch.setattr(rows, "interleaved", interleaved)
    monkeypatch.setattr(rows, "peak_memory", peak_memory)
    sizes: dict[str, Any] = {"batch": 32, "units": 40.0, "work": 1e3, "matmul_size": 100, "repetitions": 3}
    errors = {"float32": {"nll_error": 0.1}, "bf16": {"nll_error": 0.2}}
    single, half = rows.compare(lambda _: lambda: None, memory_of=lambda _: lambda: None, errors=errors, **sizes)
    assert single == {
        "batch": 32,
        "precision": "float32",
        "baseline": 5.0,  # units a second
        "baseline_autograd": 8.0,
        "ours": 20.0,
        "ratio": 4.0,
        "ratio_autograd": 2.5,
        "peak_share": pytest.approx(20.0 * 1e3 / 4e6),
        "matmul_gflops": pytest.approx(4e-3),
        "nll_error": 0.1,
        "baseline_memory": 30.0,
        "ours_memory": 10.0,
        "memory_ratio": 3.0,
        "baseline_process_memory": 90.0,
        "ours_process_memory": 70.0,
    }
    assert (half["ratio"], half["peak_share"], half["memory_ratio"]) == (8.0, pytest.approx(40.0 * 1e3 / 8e6), 6.0)
