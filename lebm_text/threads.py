"""CPU threads: how many this process may use, and how they wait for one another.

OpenMP's threads spin while they wait for each other, GCC's for milliseconds, Intel's and LLVM's for two tenths of a
second. On a busy machine they thereby occupy the processor of the very thread that they wait for, and an update takes 2
to 20 times as long; the short spin set here costs nothing on an idle machine (docs/performance.md). OpenMP
reads the variables once, when torch is imported: this module imports nothing large, and `spin_briefly` is called only
by programs, never by the library.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["MAX_THREADS", "SHORT_SPIN", "available_cpus", "cpu_threads", "default_threads", "spin_briefly"]

SHORT_SPIN = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}  # iterations for GCC; milliseconds for Intel and LLVM
MAX_THREADS = 1024  # with many more, OpenMP ends the process

_CGROUPS = Path("/sys/fs/cgroup")
_OF_THIS_PROCESS = Path("/proc/self/cgroup")


def spin_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting OpenMP threads sleep soon, unless the user has set this; for use before torch is imported."""
    if not any(name in environment for name in ("OMP_WAIT_POLICY", *SHORT_SPIN)):
        environment.update(SHORT_SPIN)


def asked_threads() -> int | None:
    """Return the number in OMP_NUM_THREADS, the first of a list for several levels of nesting; None if it is no use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and 0 < int(asked) <= MAX_THREADS else None


def available_cpus() -> int:
    """Return the processors that this process may use: by its affinity and its container's quota, rounded down."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([affinity, *_quotas(_CGROUPS, _OF_THIS_PROCESS)])))


def default_threads(n_processes: int = 1) -> int:
    """Return the default threads per process: OMP_NUM_THREADS, or its share of the processors.

    torch uses at most one thread per core.
    """
    import torch

    return asked_threads() or max(1, min(torch.get_num_threads(), available_cpus()) // n_processes)


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Use `n` CPU threads of torch inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _quotas(root: Path, of_process: Path) -> Iterator[float]:
    """Yield the processor quota of each control group of a process, for versions 1 and 2."""
    lines: list[str] = []
    with suppress(OSError):
        lines = of_process.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        _, controllers, name = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the path may be that of the host, which is not visible: then the root is the group itself.
        inner = Path(name.lstrip("/"))
        top = root / "cpu" if controllers else root
        for group in (top / inner, *(top / each for each in inner.parents)):
            with suppress(OSError, ValueError, ZeroDivisionError):
                yield _quota(group)


def _quota(group: Path) -> float:
    """Return the quota of a group in processors. Raises OSError or ValueError if there is no limit."""
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except FileNotFoundError:
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    if (share := int(quota) / int(period)) <= 0:  # version 1 writes -1 for no limit
        raise ValueError(f"no limit in {group}")
    return share
