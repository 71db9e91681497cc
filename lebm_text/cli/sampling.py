"""What `generate` and `reconstruct` share: which run, how ids are chosen, and the progress of long work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.run import Run
from lebm_text.text.reading import parse_lines, read_lines

from .options import MAX_SEED, check_finite, run_option

__all__ = ["decoding_options", "find_run", "progress", "read_sentences", "run_option"]

_SECONDS_BETWEEN_LINES = 10.0

F = TypeVar("F", bound=Callable[..., Any])


def decoding_options(default: str) -> Callable[[F], F]:
    """`--decode` (with this default), `--temperature`, `--top-k`, `--top-p`, `--seed` and `--max-length`."""

    def decorate(command: F) -> F:
        for option in reversed(
            [
                click.option(
                    "--decode",
                    type=click.Choice(["sample", "greedy", "beam"]),
                    default=default,
                    show_default=True,
                    help="How words are chosen: drawn, the most probable one each time, or beam search.",
                ),
                click.option(
                    "--temperature",
                    type=click.FloatRange(min=0, min_open=True),
                    default=1.0,
                    show_default=True,
                    callback=check_finite,
                    help="Divides the logits before sampling; below 1 is safer, above 1 wilder.",
                ),
                click.option(
                    "--top-k",
                    type=click.IntRange(min=0),
                    default=0,
                    show_default=True,
                    help="Sample from the K most probable words only; 0: from all.",
                ),
                click.option(
                    "--top-p",
                    type=click.FloatRange(0, 1, min_open=True),
                    default=1.0,
                    show_default=True,
                    callback=check_finite,
                    help="Sample from the most probable words that reach this mass only; 1: from all.",
                ),
                click.option(
                    "--seed",
                    type=click.IntRange(0, MAX_SEED),
                    default=1,
                    show_default=True,
                    help="The same seed gives the same output.",
                ),
                click.option(
                    "--max-length",
                    type=click.IntRange(min=1),
                    help="Cut sentences at this many tokens.  [default: the run's text.max_length]",
                ),
            ]
        ):
            command = option(command)
        return command

    return decorate


def find_run(run: Path | None) -> Path:
    """The directory of the run that was named, or of the newest; InputError if that is none."""
    return Run.find(run).path


def read_sentences(file: Path | None) -> list[str]:
    """The lines of a file, or of standard input (none, or `-`), empty ones included."""
    if file is None or str(file) == "-":
        return list(parse_lines(sys.stdin.buffer, "standard input"))
    return list(read_lines(file))


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
