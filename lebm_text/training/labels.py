"""The labels of a corpus for a prior with classes: numbers that accompany the encoded sentences."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.models.classes import UNKNOWN
from lebm_text.sections import MOST_CLASSES, ClassesConfig
from lebm_text.text.corpora import Corpus, Labelled, label_rows
from lebm_text.text.sources import label_path
from lebm_text.training.data import Labels, PreparedText, chosen

__all__ = ["labelled"]

SEED = 0  # of the choice of labels to use: the same for all runs on a corpus


def labelled(config: Config, text: PreparedText, begun: str | None = None) -> tuple[Config, PreparedText]:
    """Add the names of the classes and the labels of the text if the prior has classes; otherwise change nothing.

    Args:
        config: of the run.
        text: encoded.
        begun: `Labels.sha256` of a run that is resumed.

    Raises:
        InputError: labels are missing, do not belong to the text, are not among the classes, have too
            few or too many distinct values, or differ from those with which the run began.
    """
    prior = config.prior
    if not isinstance(prior, ClassesConfig):
        return config, text
    train, valid, sha256 = None, None, None
    if prior.labels is None or prior.label_share:
        rows = label_rows(text.corpus, "train")
        if prior.labels is None:
            prior = dataclasses.replace(prior, labels=_names(text.corpus, rows))
            config = dataclasses.replace(config, prior=prior)
        sha256 = hashlib.sha256("\n".join(row.label for row in rows).encode()).hexdigest()
        if begun is not None and begun != sha256:
            raise InputError(f"{_file(text.corpus, 'train')} does not hold the labels that the run began with")
        train = _chosen_labels(_numbers(config, text, "train", rows), prior.label_share)
    if _file(text.corpus, "valid").is_file():
        rows = label_rows(text.corpus, "valid")
        rows = [rows[i] for i in np.flatnonzero(chosen(len(rows), config.training.validation_sentences))]
        valid = torch.from_numpy(_numbers(config, text, "valid", rows))
    return config, dataclasses.replace(text, labels=Labels(train, valid, sha256))


def _file(corpus: Corpus, split: str) -> Path:
    return label_path(corpus.splits[split].path)


def _names(corpus: Corpus, rows: Sequence[Labelled]) -> tuple[str, ...]:
    names = tuple(sorted({row.label for row in rows} - {""}))
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(
            f"{_file(corpus, 'train')} has {len(names):,} different labels; there must be 2 to {MOST_CLASSES:,}"
        )
    return names


def _numbers(config: Config, text: PreparedText, split: str, rows: Sequence[Labelled]) -> NDArray[np.int64]:
    """Return the label numbers of the sentences that are not too long, since only these have been encoded."""
    assert isinstance(config.prior, ClassesConfig)
    names = config.prior.labels or ()
    places = {name: number for number, name in enumerate(names)} | {"": UNKNOWN}
    if strange := next((row.label for row in rows if row.label not in places), None):
        raise InputError(f"{_file(text.corpus, split)}: {strange!r} is none of prior.labels: {', '.join(names[:20])}")
    fits, longest = text.tokenizer.fits, config.text.max_length
    return np.array([places[row.label] for row in rows if fits(row.sentence, longest)], dtype=np.int64)


def _chosen_labels(numbers: NDArray[np.int64], share: float) -> Tensor | None:
    """Keep the labels of a random `share` of the sentences that have one; the others become `UNKNOWN`."""
    if not share:
        return None
    known = np.flatnonzero(numbers != UNKNOWN)
    kept = np.random.Generator(np.random.PCG64(SEED)).permutation(known)[: round(share * len(known))]
    if not len(kept):
        raise InputError(f"prior.label_share = {share:g} of {len(known):,} training sentences with a label is none")
    labels = np.full(len(numbers), UNKNOWN)
    labels[kept] = numbers[kept]
    return torch.from_numpy(labels)
