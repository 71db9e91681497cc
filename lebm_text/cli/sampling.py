"""What commands share that are not yet on the new frame: which run, and the progress of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lebm_text.run import Run

from .options import run_option

__all__ = ["find_run", "progress", "run_option"]

_SECONDS_BETWEEN_LINES = 10.0


def find_run(run: Path | None) -> Path:
    """The directory of the run that was named, or of the newest; InputError if that is none."""
    return Run.find(run).path


@contextmanager
def progress(total: int, what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A function to call with how many of `total` are done: a bar on a terminal, else a line now and then."""
    if quiet:
        yield lambda _done: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        said = time.monotonic()

        def say(done: int) -> None:
            nonlocal said
            if done < total and time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                click.echo(f"{what}: {done:,} of {total:,}", err=True)

        yield say
