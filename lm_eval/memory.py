"""What estimation needs, and what the machine has: asked before the work, not found out during it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lebm_text.errors import InputError

__all__ = ["check_memory", "estimated_bytes", "estimated_positions", "machine_bytes"]

# Measured peaks stay below these; the worst case is a text whose n-grams are all different.
_BYTES_PER_POSITION = 60  # temporary arrays of the sort and of one order's estimation
_BYTES_PER_NGRAM = 30  # what is kept of every n-gram until the end
_HEAD = 1 << 20


def estimated_bytes(n_positions: int, order: int) -> int:
    """Upper estimate of the memory of estimation, for `n_positions` words and sentence markers."""
    return n_positions * (_BYTES_PER_POSITION + _BYTES_PER_NGRAM * (order - 1))


def estimated_positions(path: Path) -> int:
    """Words and sentence markers of a text file, extrapolated from its first megabyte."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    positions = len(head.split()) + 2 * (head.count(b"\n") + 1)
    return round(positions * path.stat().st_size / max(len(head), 1))


def machine_bytes() -> int | None:
    """Memory of this machine, or of the container that limits it; None where the system does not say."""
    limits = []
    with suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def check_memory(n_positions: int, order: int) -> None:
    """Raise InputError, with the need and the ways out, if a text is too large for this machine."""
    need, have = estimated_bytes(n_positions, order), machine_bytes()
    if have is not None and need > have:
        raise InputError(
            f"a text of about {n_positions / 1e6:.0f} million tokens may need {need / 1e9:.0f} GB for order "
            f"{order}, and this machine has {have / 1e9:.0f} GB; take a lower --order, less text, or "
            "--ngram-backend lmplz, which works on disk"
        )
