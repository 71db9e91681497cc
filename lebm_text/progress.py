"""How long work tells how far it is; everything else that the library says goes through `logging`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Progress", "adder", "counter", "silent"]


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
