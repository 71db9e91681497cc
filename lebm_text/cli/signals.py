"""Signals of the user: SIGTERM and a closed terminal unwind as Ctrl-C does, and a run that can be stopped well is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["ending_interrupts", "stop_on_signals"]

_STDERR = 2  # file descriptor
_ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has no SIGHUP


@contextmanager
def ending_interrupts() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise KeyboardInterrupt, so that they clean up on the way out as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers(interrupt, *_ENDING):
        yield


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP makes the yielded function true; a second one interrupts."""
    requested = False

    def request(_signal: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        # Not through sys.stderr: a handler may run in the middle of a write to it.
        with suppress(OSError):  # of a terminal that is gone
            os.write(_STDERR, b"\nstopping after this update; once more stops at once\n")

    with _handlers(request, signal.SIGINT, *_ENDING):
        yield lambda: requested


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None], *signals: signal.Signals) -> Iterator[None]:
    """A SIGHUP that is ignored stays so: `nohup` asks for it."""
    taken = [number for number in signals if not (number in _ENDING[1:] and signal.getsignal(number) is signal.SIG_IGN)]
    previous = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)
