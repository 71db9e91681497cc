"""What leaves for standard output and standard error: visible characters, and one line if it cannot be written."""

from __future__ import annotations

import click

from lebm_text.errors import InputError
from lebm_text.visible import visible

__all__ = ["OutputError", "print_note", "print_text"]


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
