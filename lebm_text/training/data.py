"""A corpus prepared for training: tokenizer, encoded training text, a fixed validation set, labels for classes."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.models.classes import UNKNOWN
from lebm_text.sections import MOST_CLASSES, ClassesConfig, TextConfig
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.corpora import Corpus
from lebm_text.text.encoding import encode_split, pack
from lebm_text.text.labels import Labelled, label_path, label_rows
from lebm_text.text.pretrained import PretrainedTokenizer
from lebm_text.text.tokenizers import SPECIALS, SentencePieceTokenizer, Tokenizer, WordTokenizer, learn_tokenizer

__all__ = ["Labels", "PreparedText", "labelled", "prepare_text", "train_tokenizer"]

_COUNTED = 1 << 24  # tokens counted at a time
PIECES = 8000  # of a sentencepiece model, unless text.vocab_size is set
PIECES_FROM = 500_000  # maximum sentences, evenly spaced: the library needs 20 times the memory of its training text
VALIDATION_SEED = 0  # of the choice of validation sentences: the same for all runs on a corpus
LABEL_SEED = 0  # of the choice of labels to use: likewise


class Labels(NamedTuple):
    """Labels for a prior with classes: numbers of classes, `UNKNOWN` for none.

    Attributes:
        train: (N,) of the training sentences; None if none is used.
        valid: of the validation sentences; None if they have no labels.
        sha256: of the labels that `train` was read from.
    """

    train: Tensor | None = None
    valid: Tensor | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class PreparedText:
    """A corpus, its encoded splits, the lines of `valid`, `notices` of what was left out, and `warnings`.

    `labels` are those used by a prior with classes.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    train: EncodedCorpus
    valid: EncodedCorpus
    valid_sentences: list[str]
    notices: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)


def train_tokenizer(corpus: Corpus, config: TextConfig, pretrained: str | None = None) -> Tokenizer:
    """Return the tokenizer that `config` asks for, learned from the training split or loaded from the cache.

    Args:
        corpus: to learn from.
        config: kind and settings of the tokenizer.
        pretrained: the decoder whose tokenizer is used instead, if any.

    Raises:
        InputError: the closed vocabulary is empty, or lower-casing produces a reserved word.
    """
    split = corpus.splits["train"]
    if config.lowercase:  # text that the run's judges would refuse is refused before training
        for each in corpus.splits.values():
            deque(each.lowered(), maxlen=0)

    if pretrained is not None:
        return PretrainedTokenizer.of(pretrained, lowercase=config.lowercase)

    def learn() -> Tokenizer:
        if config.tokenizer == "word":
            return WordTokenizer.train(split.sentences(), config.vocab_size, lowercase=config.lowercase)
        sample = islice(split.sentences(), 0, None, math.ceil(split.n_sentences / PIECES_FROM))
        return SentencePieceTokenizer.train(sample, config.vocab_size or PIECES, lowercase=config.lowercase)

    settings = [config.vocab_size, config.lowercase, PIECES, PIECES_FROM]
    tokenizer = learn_tokenizer(split, config.tokenizer, settings, learn)
    if len(tokenizer) == len(SPECIALS):
        raise InputError(f"{corpus.name} repeats no word, so all of it would be <unk>; give more text")
    return tokenizer


def prepare_text(corpus: Corpus, config: TextConfig, tokenizer: Tokenizer, n_validation: int) -> PreparedText:
    """Encode the training split and `n_validation` sentences of the validation split (all if it has fewer).

    Args:
        corpus: to encode.
        config: maximum length of its sentences.
        tokenizer: encodes them.
        n_validation: number of validation sentences.

    Raises:
        InputError: every sentence is longer than `config.max_length`.
    """
    split = corpus.splits["train"]
    encoded, notices = encode_split(split, tokenizer, config.max_length)
    train = EncodedCorpus(*encoded, tokenizer.pad_id)
    if not len(train):
        raise InputError(f"no train sentence of {corpus.name} has at most text.max_length = {config.max_length} tokens")
    if left_out := split.n_sentences - len(train):
        notices = (
            *notices,
            f"left out {left_out} of {split.n_sentences} train sentences: longer than {config.max_length} tokens",
        )
    warnings, valid = _mostly_unknown(train, tokenizer, corpus.name), corpus.splits["valid"]
    sample = [
        (line, ids)
        for line in compress(valid.sentences(), _chosen(valid.n_sentences, n_validation))
        if len(ids := tokenizer.encode(line)) <= config.max_length
    ]
    encoded = pack((ids for _, ids in sample), tokenizer.eos_id)
    held_out = EncodedCorpus(*encoded, tokenizer.pad_id)
    return PreparedText(corpus, tokenizer, train, held_out, [line for line, _ in sample], notices, warnings)


def _mostly_unknown(train: EncodedCorpus, tokenizer: Tokenizer, name: str) -> tuple[str, ...]:
    """Return a warning if most training tokens are `<unk>`: the model would learn to generate that."""
    n_words, n_unknown = len(train.tokens) - len(train), 0
    for start in range(0, len(train.tokens), _COUNTED):
        n_unknown += np.count_nonzero(train.tokens[start : start + _COUNTED] == tokenizer.unk_id)
    if n_unknown <= n_words / 2:
        return ()
    cure = "give text whose words are written out"
    if tokenizer.kind == "word":
        cure = "raise text.vocab_size if it is set; without blanks between words take text.tokenizer=sentencepiece"
    return (f"{n_unknown / n_words:.0%} of the words of the train text of {name} are <unk> to the model; {cure}",)


def _chosen(n_sentences: int, n: int) -> NDArray[np.bool_]:
    """Return a mask of the `n` validation sentences to use, or of all: always the same ones."""
    mask = np.zeros(n_sentences, dtype=bool)
    mask[np.random.Generator(np.random.PCG64(VALIDATION_SEED)).permutation(n_sentences)[:n]] = True
    return mask


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
            prior = replace(prior, labels=_names(text.corpus, rows))
            config = replace(config, prior=prior)
        sha256 = hashlib.sha256("\n".join(row.label for row in rows).encode()).hexdigest()
        if begun is not None and begun != sha256:
            raise InputError(f"{_file(text.corpus, 'train')} does not hold the labels that the run began with")
        train = _chosen_labels(_numbers(config, text, "train", rows), prior.label_share)
    if _file(text.corpus, "valid").is_file():
        rows = label_rows(text.corpus, "valid")
        rows = [rows[i] for i in np.flatnonzero(_chosen(len(rows), config.training.validation_sentences))]
        valid = torch.from_numpy(_numbers(config, text, "valid", rows))
    return config, replace(text, labels=Labels(train, valid, sha256))


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
    kept = np.random.Generator(np.random.PCG64(LABEL_SEED)).permutation(known)[: round(share * len(known))]
    if not len(kept):
        raise InputError(f"prior.label_share = {share:g} of {len(known):,} training sentences with a label is none")
    labels = np.full(len(numbers), UNKNOWN)
    labels[kept] = numbers[kept]
    return torch.from_numpy(labels)
