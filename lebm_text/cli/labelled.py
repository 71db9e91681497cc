"""Labelled sentences of a run's corpus, as the command line names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text.errors import InputError

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM
    from lebm_text.text.corpora import Corpus
    from lebm_text.text.labels import Labelled

__all__ = ["choose", "label_file", "labelled_split", "positive_label"]


def label_file(corpus: Corpus, split: str, directory: Path | None) -> Path:
    """Where the labels of a split are looked for."""
    from lebm_text.text.labels import label_path

    return label_path(corpus.splits[split].path, directory)


def labelled_split(corpus: Corpus, split: str, directory: Path | None) -> list[Labelled]:
    """The sentences of a split that have a label. Raises InputError if the labels are missing or do not fit."""
    from lebm_text.text.labels import read_labelled

    labels = label_file(corpus, split, directory)
    if not labels.is_file():
        raise InputError(
            f"{labels} does not exist: an attribute needs labels, one a line as in {split}.txt; "
            "give the directory that holds them with --labels"
        )
    return read_labelled(corpus.splits[split].path, labels)


def positive_label(rows: list[Labelled], asked: str | None) -> str:
    """The label that counts as positive: the one asked for, or the later of two. Raises InputError if there is none."""
    known = sorted({row.label for row in rows})
    listed = ", ".join(known[:20])
    if asked is not None and asked not in known:
        raise InputError(f"no sentence has the label {asked!r}; the labels are: {listed}")
    if asked is None and len(known) != 2:
        raise InputError(f"there are {len(known)} labels, not two; name one with --positive: {listed}")
    return asked or known[1]


def choose(model: LatentEBM, rows: list[Labelled], n: int, seed: int) -> list[Labelled]:
    """At most n that are not too long for the model, in an order of their own."""
    from lebm_text.reports.posterior import shuffled, that_fit

    fitting = set(that_fit(model, {row.sentence for row in rows}))
    usable = [row for row in rows if row.sentence in fitting]
    return [usable[i] for i in shuffled(len(usable), seed)[:n]]
