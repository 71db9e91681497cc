"""One training a run directory: two would overwrite each other's checkpoints and mix their lines of metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lebm_text.errors import InputError
from lebm_text.store import lock

__all__ = ["sole_writer"]


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Inside, no other process can enter for the same directory. Raises InputError if another one is there.

    Where files cannot be locked nothing is checked.
    """
    with lock(directory / ".lock") as alone:
        if alone is False:
            raise InputError(f"another process is training in {directory}; wait until it ends, or stop it")
        yield
