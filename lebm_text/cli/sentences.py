"""Sentences for a command: typed as arguments, or in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.text.reading import parse_sentence, read_records
from lebm_text.text.sources import STDIN

from .options import INPUT, text_column_option

__all__ = ["query_options", "read_sentences"]


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`[SENTENCE]...`, `--file` and `--text-column`: what `read_sentences` takes."""
    command = text_column_option(command)
    command = click.option(
        "--file", type=INPUT, help="Read them from a file, one a line.  [default: standard input, if none is named]"
    )(command)
    return click.argument("sentences", metavar="[SENTENCE]...", nargs=-1)(command)


def read_sentences(file: Path | None, typed: Sequence[str] = (), column: str | None = None) -> list[str]:
    """What was typed, or the lines of a file, or of standard input (no file), empty ones included."""
    if typed and file is not None:
        raise InputError("sentences are named both as arguments and by --file: give one of them")
    if typed:
        return [parse_sentence(text, f"argument {i}") for i, text in enumerate(typed, 1)]
    return list(read_records(file or STDIN, column))
