"""Seconds, bytes and the machine's own limit, so that every figure has its comparison from the same minutes."""

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
    """Median seconds of each contestant.

    They take turns, so that a machine that is busier for a while is so for all; one round before is not counted.
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
    """A contestant: one product of two square matrices, 2·size³ operations."""
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=rng).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> Memory:
    """Peak memory of `prepare(*arguments)()` in a fresh process, in MB.

    Args:
        prepare: a function of a module's top level; builds what is needed and returns what is measured.

    Returns:
        `process`: the greatest resident size of the whole process, the interpreter and torch with it;
        `step`: by how much that exceeds the size after `prepare`.
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
    """This process's memory now, in MB: `resident`, and `anonymous`, the part of it that no file lies behind.

    Pages of mapped files count in the first alone; the system takes them back when it needs them. Where it does not
    say, `resident` is the peak so far and `anonymous` None.
    """
    now = _status("VmRSS")
    return {"resident": peak_mb() if now is None else now, "anonymous": _status("RssAnon")}


def _status(name: str) -> float | None:
    """A line of Linux's /proc/self/status, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)


def peak_mb() -> float:
    """Greatest resident size so far. Linux's `getrusage` would count the parent's from before this program began."""
    if (peak_here := _status("VmHWM")) is not None:
        return peak_here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
