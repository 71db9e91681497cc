"""Progress reports of long work; all other messages of the library go through `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "adder", "counter", "duration", "keeping", "silent"]

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Callback for the progress of long work: its stage, and how many of how many items are done."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` items are done; a new `stage` follows when the previous one is complete."""


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""


def counter(on_progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """Return a function for one stage that reports how many items are done."""
    return lambda done: on_progress(stage, done, total)


def adder(on_progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """Return a function for one stage that reports how many more items are done."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        on_progress(stage, done, total)

    return add


def duration(seconds: float) -> str:
    """Format hours, minutes and seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def keeping(what: Callable[[], str]) -> Iterator[None]:
    """Add to an interrupt inside that `what()` of the work is kept, and that the same command continues it."""
    try:
        yield
    except KeyboardInterrupt:
        if message := what():
            logger.info("interrupted: %s; the same command goes on from there", message)
        raise
