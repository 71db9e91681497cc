"""Measurement of time, memory and the machine's peak rate, interleaved so that figures are comparable."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

__all__ = ["Memory", "interleaved", "matmul", "peak_mb", "peak_memory", "resident"]

Memory = dict[str, float]


def interleaved(contestants: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median seconds of each contestant.

    They take turns, so that a temporary load affects all of them equally; a warm-up round is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repetitions + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matmul(size: int, dtype: torch.dtype) -> Callable[[], object]:
    """Return a contestant: one product of two square matrices, 2·size³ operations."""
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=rng).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> Memory:
    """Return the peak memory of `prepare(*arguments)()` in a new process, in MB.

    Args:
        prepare: a module-level function that builds what is needed and returns what is measured.

    Returns:
        `process`: the maximum resident size of the whole process, including the interpreter and torch;
        `step`: its excess over the size after `prepare`.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, torch.get_num_threads(), prepare, arguments).result()


def _measured(n_threads: int, prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> Memory:
    torch.set_num_threads(n_threads)
    run = prepare(*arguments)
    before = peak_mb()
    run()
    peak = peak_mb()
    return {"process": peak, "step": peak - before}


def resident() -> dict[str, float | None]:
    """Return this process's current memory in MB: `resident`, and `anonymous`, the part not backed by a file.

    Pages of mapped files count only in the first; the system reclaims them when needed. If the system does not
    report them, `resident` is the peak so far and `anonymous` None.
    """
    now = _status("VmRSS")
    return {"resident": peak_mb() if now is None else now, "anonymous": _status("RssAnon")}


def _status(name: str) -> float | None:
    """Return a line of Linux's /proc/self/status, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)


def peak_mb() -> float:
    """Return the maximum resident size so far. Linux's `getrusage` would include the parent's before the start."""
    if (peak_here := _status("VmHWM")) is not None:
        return peak_here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
