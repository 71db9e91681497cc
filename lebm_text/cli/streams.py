"""What leaves for standard output and standard error: visible characters, and one line if it cannot be written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import click

from lebm_text.errors import InputError
from lebm_text.visible import visible

__all__ = ["OutputError", "print_note", "print_text", "standard_streams"]


class OutputError(InputError):
    """Standard output takes nothing: it is closed, or its disk is full."""


def print_text(text: str, *, end: str = "\n", styled: bool = False) -> None:
    """Write to standard output, in UTF-8 whatever the locale; `styled`: the text has a terminal's own sequences.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: its reader went away.
    """
    text = text if styled else visible(text)
    try:
        click.echo(f"{text}{end}".encode(errors="backslashreplace"), nl=False)  # names need not be UTF-8
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def print_note(text: str, *, colour: str | None = None, end: str = "\n") -> None:
    """Write to standard error. Where that is closed or full nobody hears it, and the work goes on.

    Raises:
        BrokenPipeError: its reader went away.
    """
    try:
        click.secho(f"{visible(text)}{end}", fg=colour, err=True, nl=False)
    except BrokenPipeError:
        raise
    except OSError:
        pass


@contextmanager
def standard_streams() -> Iterator[None]:
    """Inside, nothing that is opened takes the number of a closed stream; what cannot be written is lost in the end.

    A file that a training opened as number 2 would be given all that native code has to say.
    """
    for number, way in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):  # neither read nor written with success
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)  # the lowest number that is free
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = before[0] or cast(TextIO, _Closed()), before[1] or nowhere
        try:
            yield
        finally:
            _forget()
            sys.stdout, sys.stderr = before


def _forget() -> None:
    """Send what cannot be written nowhere, or Python complains of it while it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
                stream.flush()


class _Closed:
    """In the place of a standard output that is closed, for bytes and for text."""

    encoding = "utf-8"

    @property
    def buffer(self) -> _Closed:
        return self

    def isatty(self) -> bool:
        return False

    def flush(self) -> None: ...

    def write(self, _data: Any) -> int:
        raise OutputError("standard output is closed")
