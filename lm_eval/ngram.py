"""n-gram judges: text → model → sentence scores and samples, in memory or through a file and kenlm.

log p(w|h) = the stored log p(hw) if the model has hw, else log b(h) + log p(w|h′)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from lebm_text.checks import whole
from lebm_text.errors import InputError
from lebm_text.store import check_writable

from .counts import BOS, EOS, UNK, UNKNOWN_WORD, FloatArray, Int32Array, IntArray, WordIds, count_ngrams, encode
from .kenlm import KenlmJudge, check_memory, train_with_lmplz, write_arpa
from .kneser_ney import BackoffModel, KneserNeySettings, NgramTable, estimate
from .perplexity import SentenceScores

__all__ = ["BACKENDS", "NgramModel", "train_arpa", "train_judge"]

BACKENDS = ("numpy", "lmplz")


def train_arpa(
    sentences: Iterable[str], settings: KneserNeySettings, path: Path, *, backend: str = "numpy"
) -> list[int]:
    """Estimate a model, write it as an ARPA file and return the orders that took the fallback discounts.

    Args:
        sentences: the training text.
        settings: of the estimation.
        path: the file to write.
        backend: one of `BACKENDS`.

    Raises:
        InputError: as `NgramModel.train` and `train_with_lmplz` do.
    """
    if backend == "lmplz":
        return train_with_lmplz(sentences, settings, path)
    model = NgramModel.train(sentences, settings)
    model.save(path)
    return model.fallback_orders


def train_judge(
    sentences: Iterable[str], settings: KneserNeySettings, *, backend: str = "numpy"
) -> tuple[NgramModel | KenlmJudge, list[int]]:
    """Return a judge trained on `sentences` and its fallback orders.

    The numpy backend's model stays in memory: it gives kenlm's scores without the seconds that writing and reading a
    file take. That of lmplz is loaded by kenlm. Raises InputError as `train_arpa` and `KenlmJudge` do.
    """
    if backend == "numpy":
        model = NgramModel.train(sentences, settings)
        return model, model.fallback_orders
    with tempfile.TemporaryDirectory(prefix="lm_eval-") as scratch:
        path = Path(scratch, "model.arpa")
        fallback_orders = train_with_lmplz(sentences, settings, path)
        return KenlmJudge(path), fallback_orders


class NgramModel(BackoffModel):
    """An n-gram model in memory: kenlm's scores without a file and without kenlm."""

    @classmethod
    def train(cls, sentences: Iterable[str], order: int | KneserNeySettings = 5) -> NgramModel:
        """Estimate a model of `sentences`, empty ones included, by interpolated modified Kneser-Ney.

        Args:
            sentences: the training text.
            order: the order of the model, or all settings.

        Raises:
            InputError: no sentence at all, words that no model may contain (with the line number), a text too large
                for the machine, and as `estimate` does.
        """
        settings = order if isinstance(order, KneserNeySettings) else KneserNeySettings(order)
        ids = WordIds()
        tokens = encode(sentences, ids)
        if not len(tokens):
            raise InputError("the text to train on is empty; give at least one line")
        check_memory(len(tokens), settings.order)
        model = estimate(ids.words, count_ngrams(tokens, len(ids.words), settings.order), settings)
        return cls(model.words, model.tables, model.discounts)

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score as `LanguageModel.score` does."""
        tokens = encode(sentences, WordIds(self.words, growing=False))
        scored = tokens != BOS
        lengths = np.diff(np.flatnonzero(~scored), append=len(scored)) - 1
        return SentenceScores.of_tokens(self._token_logs(tokens)[scored], tokens[scored] == UNK, lengths)

    def save(self, path: str | Path) -> None:
        """Write an ARPA file, which kenlm and other tools read. Raises InputError if it cannot be written there."""
        check_writable(Path(path))
        write_arpa(self, Path(path))

    def sample(self, n: int, rng: np.random.Generator, *, max_length: int = 200) -> list[str]:
        """Draw `n` sentences of the model's own words from `rng`, each cut after at most `max_length` words.

        By p(w|h) = u(w|h) + γ(h) p(w|h′): with probability Σ_w u(w|h) the word comes from u, else from h′. All
        sentences grow at once, one word per step.

        Raises:
            InputError: a number is none or negative, or `rng` is something else, such as a seed.
        """
        n, max_length = whole("n", n, 0), whole("max_length", max_length, 0)
        if not isinstance(rng, np.random.Generator):
            raise InputError(f"rng must be a generator, such as numpy.random.default_rng(1), got {rng!r:.60}")
        own = [_own_mass(lower, table) for lower, table in zip(self.tables, self.tables[1:], strict=False)]
        alone = 10.0 ** self.tables[0].log_prob.astype(np.float64)
        alone[[UNK, BOS]] = 0.0
        unigrams = np.cumsum(alone)
        words = ["<unk>" if word == UNKNOWN_WORD else word for word in self.words]
        sentences: list[list[str]] = [[] for _ in range(n)]
        alive = np.arange(n)
        # contexts[k]: number of the (k+1)-gram that ends at the last word of each unfinished sentence, or -1
        contexts = [np.full(n, BOS if k == 0 else -1, dtype=np.int32) for k in range(self.order - 1)]
        for _ in range(max_length):
            drawn = _draw(contexts, self, own, unigrams, rng)
            going = drawn != EOS
            alive, drawn = alive[going], drawn[going]
            if not len(alive):
                break
            for sentence, word in zip(alive.tolist(), drawn.tolist(), strict=True):
                sentences[sentence].append(words[word])
            longer = [self._find(k + 2, context[going], drawn) for k, context in enumerate(contexts[:-1])]
            contexts = [drawn, *longer]
        return [" ".join(sentence) for sentence in sentences]

    @cached_property
    def _keys(self) -> list[IntArray]:
        return [self._key(table.prefix, table.word) for table in self.tables]

    def _key(self, prefix: Int32Array, word: Int32Array) -> IntArray:
        return prefix.astype(np.int64) * len(self.words) + word

    def _find(self, n: int, context: Int32Array, word: Int32Array) -> Int32Array:
        """Return the numbers (K,) of the n-grams made of context (numbers of n-1 words) and word; -1 if missing."""
        keys, wanted = self._keys[n - 1], self._key(context, word)
        numbers = np.searchsorted(keys, wanted).astype(np.int32)
        inside = numbers < len(keys)
        inside[inside] = keys[numbers[inside]] == wanted[inside]
        numbers[(context < 0) | ~inside] = -1
        return numbers

    def _token_logs(self, tokens: Int32Array) -> FloatArray:
        """Return log10 p of every token given its predecessors, (P,); 0 for each `<s>`.

        All tokens are looked up at once, order by order: the n-gram that ends at a token is found from the number of
        its first n-1 words, which was found for the token before.
        """
        logs: FloatArray = self.tables[0].log_prob[tokens].astype(np.float64)
        below = tokens  # number of the (n-1)-gram that ends at each position; -1 if the model does not have it
        ends = np.flatnonzero(tokens != BOS)  # positions where n-grams within one sentence end
        for n in range(2, self.order + 1):
            context = below[ends - 1]
            ends, context = ends[context >= 0], context[context >= 0]
            numbers = self._find(n, context, tokens[ends])
            found = numbers >= 0
            logs[ends[found]] = self.tables[n - 1].log_prob[numbers[found]]
            logs[ends[~found]] += self.tables[n - 2].log_backoff[context[~found]]
            below = np.full(len(tokens), -1, dtype=np.int32)
            below[ends] = numbers
            ends = ends[tokens[ends - (n - 1)] != BOS]
        logs[tokens == BOS] = 0.0
        return logs


def _own_mass(lower: NgramTable, table: NgramTable) -> tuple[IntArray, FloatArray]:
    """Return the cumulative sum of u(w|h) over an order's n-grams, from 0 on, and where each context's begin."""
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
    """Draw one word for each context, (K,)."""
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
        chosen = np.minimum(chosen, end[here] - 1)  # rounding of the cumulative sum
        drawn[open_rows[here]] = model.tables[k + 1].word[chosen]
    rest = np.flatnonzero(drawn < 0)
    drawn[rest] = np.searchsorted(unigrams, rng.random(len(rest)) * unigrams[-1], side="right")
    return drawn
