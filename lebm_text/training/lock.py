"""One training a run directory: two would overwrite each other's checkpoints and mix their lines of metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lebm_text.errors import InputError

__all__ = ["sole_writer"]


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Inside, no other process can enter for the same directory; the system gives it back however this one dies.

    Where directories cannot be locked (Windows, some network file systems) nothing is checked. Raises InputError if
    another process is there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is training in {directory}; wait until it ends, or stop it") from None
        except OSError:
            pass  # no locks on this file system
        yield
    finally:
        os.close(descriptor)
