"""Texts of known quality, to read a perplexity against: what does copying score, or an n-gram generator?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .base import split_words
from .kneser_ney import KneserNeySettings
from .ngram import train_ngram
from .sampling import sample_sentences

__all__ = ["calibration_texts"]

_ORDERS = (5, 3, 2)
_BLOCK = 500


def calibration_texts(train: Sequence[str], n: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Named texts of `n` sentences made from the real training text; each has its own stream of `seed`."""
    for order in _ORDERS:
        model = train_ngram(train, KneserNeySettings(order=order))
        rng = np.random.default_rng([seed, order])
        yield f"{order}-gram samples", sample_sentences(model, n, rng)
    yield "training text", _repeated(train, n)
    block = train[:_BLOCK]
    yield f"{len(block)} sentences repeated", _repeated(block, n)
    words = [word for sentence in train for word in split_words(sentence)]
    shuffled = np.random.default_rng([seed, 0]).permutation(len(words)).tolist()
    mixed = iter([words[row] for row in shuffled])
    lengths = [len(split_words(sentence)) for sentence in train]
    sentences = [" ".join([next(mixed) for _ in range(length)]) for length in lengths]
    yield "training text, words shuffled", _repeated(sentences, n)


def _repeated(sentences: Sequence[str], n: int) -> list[str]:
    return [sentences[i % len(sentences)] for i in range(n)]
