"""Interpolated modified Kneser-Ney estimation, with the same results as KenLM's lmplz.

    p(w|h) = (a(hw) - D(a(hw))) / Σ_v a(hv)  +  γ(h) p(w|h′),   h′ = h without its first word

a is the raw count at the highest order and for n-grams that begin with `<s>`, else the number of distinct
words before the n-gram. Chen & Goodman (1998), "An empirical study of smoothing techniques"; Heafield et al.
(2013), "Scalable modified Kneser-Ney language model estimation".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lebm_text.checks import Checked
from lebm_text.errors import InputError

from .counts import BOS, EOS, UNK, BoolArray, Float32Array, FloatArray, Int32Array, NgramCounts, Ngrams

__all__ = ["MAX_ORDER", "MIN_ORDER", "BackoffModel", "Discounts", "KneserNeySettings", "NgramTable", "estimate"]

MIN_ORDER, MAX_ORDER = 2, 6  # what kenlm can load
FALLBACK = (0.5, 1.0, 1.5)  # lmplz's --discount_fallback


@dataclass(frozen=True)
class KneserNeySettings(Checked):
    """Options of the estimator, named as lmplz names them.

    `prune`: n-grams of order i seen at most prune[i-1] times are dropped; the last value holds for the
    orders above. `vocab_pad`: the vocabulary, with `<unk>` and `</s>`, is taken to have at least this many
    types. `interpolate_unigrams=False` gives all the mass of unseen words to `<unk>`. `fallback`: an order
    whose counts of counts allow no estimate takes the discounts (0.5, 1, 1.5) instead of failing.
    """

    order: int = 5
    prune: tuple[int, ...] = ()
    vocab_pad: int = 0
    interpolate_unigrams: bool = True
    fallback: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.order, (int, np.integer)) or not MIN_ORDER <= self.order <= MAX_ORDER:
            raise InputError(f"order must be {MIN_ORDER} to {MAX_ORDER}, got {self.order!r}")
        super().__post_init__()
        if len(self.prune) > self.order:
            raise InputError(f"prune takes at most {self.order} thresholds (one an order), got {len(self.prune)}")
        if any(threshold < 0 for threshold in self.prune) or list(self.prune) != sorted(self.prune):
            raise InputError(f"prune thresholds must be at least 0 and must not decrease, got {self.prune}")
        if self.vocab_pad < 0:
            raise InputError(f"vocab_pad must be at least 0, got {self.vocab_pad}")
        if self.vocab_pad and not self.interpolate_unigrams:
            raise InputError("vocab_pad needs interpolated unigrams: they carry the mass of unseen words")

    def threshold(self, n: int) -> int:
        """Return the pruning threshold of order `n`."""
        return self.prune[min(n, len(self.prune)) - 1] if self.prune else 0


class Discounts(NamedTuple):
    """D1, D2, D3+ of one order, and whether they are the fallback."""

    values: tuple[float, float, float]
    fallback: bool


@dataclass(frozen=True)
class NgramTable(Ngrams):
    """log10 p and back-off weight of each n-gram of one order."""

    log_prob: Float32Array
    log_backoff: Float32Array


@dataclass(frozen=True, repr=False, eq=False)  # millions of numbers: never printed or compared
class BackoffModel:
    """A back-off model: `words` by id (`<unk>`, `<s>`, `</s>` first), a table and discounts per order."""

    words: list[str]
    tables: list[NgramTable]
    discounts: list[Discounts]

    @property
    def order(self) -> int:
        return len(self.tables)

    @property
    def fallback_orders(self) -> list[int]:
        """The orders whose discounts could not be estimated."""
        return [n for n, discounts in enumerate(self.discounts, 1) if discounts.fallback]


def estimate(words: list[str], counts: list[NgramCounts], settings: KneserNeySettings) -> BackoffModel:
    """Estimate all orders.

    Args:
        words: by id.
        counts: as `count_ngrams` returns them for a text of these ids.
        settings: options of the estimator.

    Raises:
        InputError: an order's discounts cannot be estimated and `settings.fallback` is off.
    """
    adjusted = _adjusted_counts(counts)
    discounts = _discounts(counts, adjusted, settings.fallback)
    kept = [table.count > settings.threshold(n) for n, table in enumerate(counts, 1)]
    kept[0][: EOS + 1] = True  # lmplz can prune `</s>`, which makes its model useless
    tables: list[NgramTable] = []
    prob = np.ones(1)  # of the order below, at first the empty n-gram
    for table, a, order_discounts, keep in zip(counts, adjusted, discounts, kept, strict=True):
        spent = np.array([0.0, *order_discounts.values])[np.minimum(a, 3)]
        total = np.bincount(table.prefix, weights=a, minlength=len(prob))
        # A pruned n-gram leaves all its mass to the order below, a kept one its discount.
        gamma = np.bincount(table.prefix, weights=np.where(keep, spent, a), minlength=len(prob)).astype(np.float64)
        np.divide(gamma, total, out=gamma, where=total > 0)
        gamma[total == 0] = 1.0
        if tables:
            # kenlm reads a probability of 0 (possible without interpolated unigrams) but not a back-off of 0.
            tables[-1].log_backoff[:] = _log10(gamma, of_zero=-99.0)
            np.subtract(a, spent, out=spent)
            spent /= total[table.prefix]
            spent += gamma[table.prefix] * prob[table.suffix]
            prob = spent
        else:
            prob = _unigram_probs((a - spent) / total[0], gamma[0], int(keep.sum()), settings)
        no_backoff = np.zeros(len(table), dtype=np.float32)
        tables.append(NgramTable(table.prefix, table.suffix, table.word, _log10(prob, of_zero=-np.inf), no_backoff))
    if all(keep.all() for keep in kept):
        return BackoffModel(words, tables, discounts)
    kept_words = [word for word, keep in zip(words, kept[0], strict=True) if keep]
    return BackoffModel(kept_words, _without_pruned(tables, kept), discounts)


def _adjusted_counts(counts: list[NgramCounts]) -> list[Int32Array]:
    """Return a_n of every order: the number of distinct words before the n-gram, or its raw count."""
    adjusted, begins = [], np.arange(len(counts[0])) == BOS
    for table, above in pairwise(counts):
        preceding = np.bincount(above.suffix, minlength=len(table)).astype(np.int32)
        adjusted.append(np.where(begins, table.count, preceding))
        begins = begins[above.prefix]
    return [*adjusted, counts[-1].count]


def _last_types(counts: list[NgramCounts]) -> list[int]:
    """Return the n-gram of each order below the highest that lmplz counts raw in its statistics (kpu/kenlm #427).

    lmplz reads the n-grams sorted by their last word, then the one before, and so on; the last of each order
    reaches the statistics before it is adjusted. It is the word with the largest id, extended to the left
    by the largest id each time, until it begins with `<s>`.
    """
    chain = [len(counts[0]) - 1]
    for n in range(1, len(counts) - 1):
        extended = np.flatnonzero(counts[n].suffix == chain[-1])
        first_word = extended.astype(np.int32)
        for below in reversed(counts[1 : n + 1]):
            first_word = below.prefix[first_word]
        best = int(np.argmax(first_word))
        chain.append(int(extended[best]))
        if first_word[best] == BOS:
            break
    return chain


def _discounts(counts: list[NgramCounts], adjusted: list[Int32Array], fallback: bool) -> list[Discounts]:
    """Return the discounts of every order from its counts of counts, as lmplz counts them."""
    last_types = _last_types(counts)
    discounts = []
    for n, (table, a) in enumerate(zip(counts, adjusted, strict=True), 1):
        n_with = np.bincount(np.minimum(a, 5), minlength=6)
        if n <= len(last_types):
            last = last_types[n - 1]
            n_with[min(int(a[last]), 5)] -= 1
            n_with[min(int(table.count[last]), 5)] += 1
        try:
            discounts.append(Discounts(_closed_form(n_with.tolist()), fallback=False))
        except ValueError as reason:
            if not fallback:
                raise InputError(
                    f"the discounts of the {n}-grams cannot be estimated: {reason}. The text is small or "
                    "repeats itself; allow fallback discounts or give more text"
                ) from None
            discounts.append(Discounts(FALLBACK, fallback=True))
    return discounts


def _closed_form(n_with: list[int]) -> tuple[float, float, float]:
    """D_j = j - (j+1) Y n_(j+1) / n_j, Y = n1 / (n1 + 2 n2), n_j = `n_with[j]`. Raises ValueError if undefined."""
    for j in (1, 2, 3):
        if n_with[j] == 0:
            raise ValueError(f"none of them has the adjusted count {j}")
    y = n_with[1] / (n_with[1] + 2 * n_with[2])
    values = [j - (j + 1) * y * n_with[j + 1] / n_with[j] for j in (1, 2, 3)]
    for j, value in enumerate(values, 1):
        if not 0 <= value <= j:
            raise ValueError(f"the discount of the adjusted count {j} would be {value:.4g}, outside [0, {j}]")
    return values[0], values[1], values[2]


def _unigram_probs(seen: FloatArray, gamma: float, n_kept: int, settings: KneserNeySettings) -> FloatArray:
    """Turn `seen` into p(w) in place: all types share the mass `gamma`, or `<unk>` gets it; `<s>` is written as 1."""
    if settings.interpolate_unigrams:
        seen += gamma / max(settings.vocab_pad, n_kept - 1)  # types with <unk> and </s>, without <s>
    else:
        seen[UNK] = gamma
    seen[BOS] = 1.0
    return seen


def _log10(values: FloatArray, of_zero: float) -> Float32Array:
    """Return log10 in single precision, as kenlm reads it, and at most 0."""
    logs = np.full(len(values), of_zero)
    np.log10(values, out=logs, where=values > 0)
    np.minimum(logs, 0.0, out=logs)
    return logs.astype(np.float32)


def _without_pruned(tables: list[NgramTable], kept: list[BoolArray]) -> list[NgramTable]:
    """Return the kept n-grams, renumbered. The parts of a kept n-gram are kept: they are at least as frequent."""
    numbers = [np.cumsum(keep, dtype=np.int32) - 1 for keep in kept]
    return [
        NgramTable(
            prefix=below[table.prefix[keep]],
            suffix=below[table.suffix[keep]],
            word=numbers[0][table.word[keep]],
            log_prob=table.log_prob[keep],
            log_backoff=table.log_backoff[keep],
        )
        for table, keep, below in zip(tables, kept, [np.zeros(1, dtype=np.int32), *numbers[:-1]], strict=True)
    ]
