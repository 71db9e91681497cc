"""Texts of known quality, to read a perplexity against: what does copying score, or an n-gram generator?

Sentences are drawn from an n-gram model by p(w|h) = u(w|h) + γ(h) p(w|h′): with probability Σ_w u(w|h) the word comes
from u, else from h′. All sentences grow at once, one word a round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .base import FloatArray, IntArray, split_words
from .counts import BOS, EOS, UNK, UNKNOWN_WORD, Int32Array
from .kneser_ney import BackoffModel, KneserNeySettings, NgramTable
from .ngram import NgramIndex, train_ngram

__all__ = ["calibration_texts", "sample_sentences"]

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


def sample_sentences(model: BackoffModel, n: int, rng: np.random.Generator, *, max_length: int = 200) -> list[str]:
    """Draw `n` sentences of the model's own words; one that reaches `max_length` words is cut."""
    index = NgramIndex(model)
    own = [_own_mass(lower, table) for lower, table in zip(model.tables, model.tables[1:], strict=False)]
    alone = 10.0 ** model.tables[0].log_prob.astype(np.float64)
    alone[[UNK, BOS]] = 0.0
    unigrams = np.cumsum(alone)
    words = ["<unk>" if word == UNKNOWN_WORD else word for word in model.words]
    sentences: list[list[str]] = [[] for _ in range(n)]
    alive = np.arange(n)
    # contexts[k]: number of the (k+1)-gram that ends at the last word of each living sentence, or -1
    contexts = [np.full(n, BOS if k == 0 else -1, dtype=np.int32) for k in range(model.order - 1)]
    for _ in range(max_length):
        drawn = _draw(contexts, model, own, unigrams, rng)
        going = drawn != EOS
        alive, drawn = alive[going], drawn[going]
        if not len(alive):
            break
        for sentence, word in zip(alive.tolist(), drawn.tolist(), strict=True):
            sentences[sentence].append(words[word])
        longer = [index.find(k + 2, context[going], drawn) for k, context in enumerate(contexts[:-1])]
        contexts = [drawn, *longer]
    return [" ".join(sentence) for sentence in sentences]


def _own_mass(lower: NgramTable, table: NgramTable) -> tuple[IntArray, FloatArray]:
    """u(w|h) summed up over the n-grams of an order, from 0 on, and where each context's n-grams begin."""
    backoff = 10.0 ** lower.log_backoff.astype(np.float64)
    below = 10.0 ** lower.log_prob.astype(np.float64)
    mass = 10.0 ** table.log_prob.astype(np.float64) - backoff[table.prefix] * below[table.suffix]
    cumulated = np.concatenate([[0.0], np.cumsum(np.maximum(mass, 0.0))])
    return np.searchsorted(table.prefix, np.arange(len(lower) + 1)), cumulated


def _draw(
    contexts: list[Int32Array],
    model: BackoffModel,
    own: list[tuple[IntArray, FloatArray]],
    unigrams: FloatArray,
    rng: np.random.Generator,
) -> Int32Array:
    """One word for each context, (K,)."""
    drawn = np.full(len(contexts[0]), -1, dtype=np.int32)
    for k in reversed(range(len(contexts))):
        open_rows = np.flatnonzero((drawn < 0) & (contexts[k] >= 0))
        begins, cumulated = own[k]
        context = contexts[k][open_rows]
        first, end = begins[context], begins[context + 1]
        point = rng.random(len(open_rows))
        here = point < cumulated[end] - cumulated[first]
        point = point[here] + cumulated[first[here]]
        chosen = np.searchsorted(cumulated, point, side="right") - 1
        chosen = np.minimum(chosen, end[here] - 1)  # rounding of the long sum
        drawn[open_rows[here]] = model.tables[k + 1].word[chosen]
    rest = np.flatnonzero(drawn < 0)
    drawn[rest] = np.searchsorted(unigrams, rng.random(len(rest)) * unigrams[-1], side="right")
    return drawn
