"""Labels of sentences: in `train.label` next to `train.txt`, one per line, in the same order.

An empty line means that the sentence has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lebm_text.errors import InputError

from .reading import read_lines

if TYPE_CHECKING:
    from .corpora import Corpus

__all__ = ["Labelled", "label_path", "label_rows", "labelled_split", "positive_label"]


def label_path(text: Path, directory: Path | None = None) -> Path:
    """Return the path of a text's labels, next to it or in `directory`: `train.label` for `train.txt.gz`, too.

    Those of a `validation.…` may also be in `valid.label`.
    """
    directory, stem = directory or text.parent, Path(text.name.removesuffix(".gz")).stem
    short = directory / "valid.label"
    return short if stem == "validation" and short.is_file() else directory / f"{stem}.label"


class Labelled(NamedTuple):
    """A sentence and its label."""

    sentence: str
    label: str


def labelled_split(corpus: Corpus, split: str, directory: Path | None = None) -> list[Labelled]:
    """Return the sentences of a split that have a label. Raises InputError as `label_rows` does, and if none has."""
    if rows := [row for row in label_rows(corpus, split, directory) if row.label]:
        return rows
    text = corpus.splits[split].path
    raise InputError(f"{label_path(text, directory)} has no label for any sentence of {text.name}")


def label_rows(corpus: Corpus, split: str, directory: Path | None = None) -> list[Labelled]:
    """Return the sentences of a split with their labels, "" where there is none.

    Args:
        corpus: whose split is read.
        split: train, valid or test.
        directory: of the file of labels; None: that of the text.

    Raises:
        InputError: there is no file of labels, or its number of lines differs from that of the text.
    """
    text = corpus.splits[split].path
    if not (labels := label_path(text, directory)).is_file():
        raise InputError(
            f"{corpus.name} has no labels: {labels} does not exist; it should hold one for each line of {text.name}"
        )
    lines, marks = list(read_lines(text)), list(read_lines(labels))
    if len(lines) != len(marks):
        raise InputError(f"{labels} has {len(marks):,} lines, {text} has {len(lines):,}; they must be line by line")
    return [Labelled(line, mark) for line, mark in zip(lines, marks, strict=True) if line]


def positive_label(rows: list[Labelled], asked: str | None = None) -> str:
    """Return the label that counts as positive: `asked`, or the second of two in sorted order.

    Raises:
        InputError: no sentence has it, there is only one label, or there are more than two and `asked` is None.
    """
    known = sorted({row.label for row in rows})
    listed = ", ".join(known[:20])
    if asked is not None and asked not in known:
        raise InputError(f"no sentence has the label {asked!r}; the labels are: {listed}")
    if len(known) < 2:
        raise InputError(
            f"all {len(rows):,} labelled sentences have the label {listed}; at least two labels are needed"
        )
    if asked is None and len(known) > 2:
        raise InputError(f"there are {len(known)} labels, not two; say which one is positive: {listed}")
    return asked or known[1]
