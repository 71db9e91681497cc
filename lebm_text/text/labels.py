"""Labels of sentences: `train.label` beside `train.txt`, a label a line, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .reading import read_lines

__all__ = ["Labelled", "label_path", "read_labelled"]


class Labelled(NamedTuple):
    """A sentence and its label."""

    sentence: str
    label: str


def label_path(text: Path, directory: Path | None = None) -> Path:
    """Where the labels of a text lie, beside it or in `directory`: of `train.txt.gz`, too, in `train.label`.

    Those of a `validation.…` may also lie in `valid.label`.
    """
    directory, stem = directory or text.parent, Path(text.name.removesuffix(".gz")).stem
    short = directory / "valid.label"
    return short if stem == "validation" and short.is_file() else directory / f"{stem}.label"


def read_labelled(text: Path, labels: Path) -> list[Labelled]:
    """The sentences of `text` that have a label; an empty line in `labels` means that there is none.

    Raises InputError if a file cannot be read or the two have different numbers of lines.
    """
    lines, marks = list(read_lines(text)), list(read_lines(labels))
    if len(lines) != len(marks):
        raise InputError(f"{labels} has {len(marks):,} lines, {text} has {len(lines):,}; they must be line by line")
    return [Labelled(line, mark) for line, mark in zip(lines, marks, strict=True) if line and mark]
