"""Signals of the user: SIGTERM unwinds as Ctrl-C does, and a run that can be stopped in good order is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["sigterm_interrupts", "stop_on_signals"]

_STDERR = 2  # file descriptor


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt, so that it cleans up on its way out as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers(interrupt, signal.SIGTERM):
        yield


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT or SIGTERM makes the yielded function true; a second one interrupts."""
    requested = False

    def request(_signal: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        # Not through sys.stderr: a handler may run in the middle of a write to it.
        os.write(_STDERR, b"\nstopping after this update; once more stops at once\n")

    with _handlers(request, signal.SIGINT, signal.SIGTERM):
        yield lambda: requested


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None], *signals: signal.Signals) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)
