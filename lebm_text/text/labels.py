"""Labels of sentences: `train.label` beside `train.txt`, a label a line, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lebm_text.errors import InputError

from .corpora import Corpus
from .reading import read_lines

__all__ = ["Labelled", "label_path", "labelled_split", "positive_label", "read_labelled"]


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


def labelled_split(corpus: Corpus, split: str, directory: Path | None = None) -> list[Labelled]:
    """The sentences of a split that have a label, which lie beside its text or in `directory`.

    Raises:
        InputError: there is no file of labels, or it does not fit the text.
    """
    text = corpus.splits[split].path
    labels = label_path(text, directory)
    if not labels.is_file():
        raise InputError(
            f"{corpus.name} has no labels: {labels} does not exist; it should hold one for each line of {text.name}"
        )
    return read_labelled(text, labels)


def positive_label(rows: list[Labelled], asked: str | None = None) -> str:
    """The label that counts as positive: the one asked for, or the later of two.

    Raises:
        InputError: no sentence has it, or there are not two labels and none was asked for.
    """
    known = sorted({row.label for row in rows})
    listed = ", ".join(known[:20])
    if asked is not None and asked not in known:
        raise InputError(f"no sentence has the label {asked!r}; the labels are: {listed}")
    if asked is None and len(known) != 2:
        raise InputError(f"there are {len(known)} labels, not two; say which one is positive: {listed}")
    return asked or known[1]
