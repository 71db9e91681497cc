"""Writing to standard output and standard error, with control characters escaped."""

from __future__ import annotations

import json
from typing import Any

import click

from lebm_text.checks import to_plain
from lebm_text.errors import InputError
from lebm_text.visible import visible

__all__ = ["OutputError", "print_json", "print_note", "print_text"]


class OutputError(InputError):
    """Standard output cannot be written: it is closed, or its disk is full."""


def print_text(text: str, *, end: str = "\n", styled: bool = False) -> None:
    """Write to standard output, in UTF-8 whatever the locale, escaped by `visible`.

    If it is `styled`, it contains escape sequences of the terminal, which are kept.

    Raises:
        OutputError: standard output cannot be written.
        BrokenPipeError: its reader went away.
    """
    text = text if styled else visible(text)
    try:
        click.echo(f"{text}{end}".encode(errors="backslashreplace"), nl=False)  # file names may not be UTF-8
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def print_json(value: Any) -> None:
    """Write `value` to standard output as one line of JSON, with null for nan and infinity, which JSON lacks."""
    print_text(json.dumps(to_plain(value), allow_nan=False))


def print_note(text: str, *, colour: str | None = None) -> None:
    """Write to standard error; errors, such as a closed stream or a full disk, are ignored.

    Raises:
        BrokenPipeError: the reader of standard error went away.
    """
    try:
        click.echo(click.style(visible(text), fg=colour, reset=colour is not None), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass
