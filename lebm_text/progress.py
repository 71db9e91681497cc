"""How long work tells how far it is; everything else that the library says goes through `logging`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "adder", "counter", "duration", "keeping", "silent"]

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Hears of long work: what is being done, and how many of how many things are done."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` counts from 0 up to `total`; a new `stage` follows once the former is done."""


def silent(stage: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


def counter(on_progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """`on_progress` for one stage: a function of how many are done."""
    return lambda done: on_progress(stage, done, total)


def adder(on_progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """`on_progress` for one stage: a function of how many more are done."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        on_progress(stage, done, total)

    return add


def duration(seconds: float) -> str:
    """Hours, minutes and seconds for people: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def keeping(what: Callable[[], str]) -> Iterator[None]:
    """Inside, an interrupt says `what()` of what is done is kept: the same command goes on from there."""
    try:
        yield
    except KeyboardInterrupt:
        if message := what():
            logger.info("interrupted: %s; the same command goes on from there", message)
        raise
