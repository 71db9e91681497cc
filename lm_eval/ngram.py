"""n-gram judges: text → model → sentence scores, in memory or through a file and kenlm.

    log p(w|h) = the stored log p(hw) if the model has hw, else log b(h) + log p(w|h′)

Alone in turning log10 to nats.
"""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError

from .arpa import write_arpa
from .base import FloatArray, IntArray, LanguageModel, SentenceScores
from .counts import BOS, UNK, EncodedText, Int32Array, WordIds, canonical_sentences, count_ngrams, encode
from .kneser_ney import BackoffModel, KneserNeySettings, estimate
from .lmplz import check_memory, train_with_lmplz

__all__ = ["BACKENDS", "KenlmJudge", "NgramIndex", "NgramModel", "train_arpa", "train_judge", "train_ngram"]

BACKENDS = ("numpy", "lmplz")
_LN10 = math.log(10)
BoolArray = npt.NDArray[np.bool_]


def train_ngram(sentences: Iterable[str], settings: KneserNeySettings) -> BackoffModel:
    """Estimate a model of `sentences`, empty ones included.

    Raises InputError for no sentence at all, for words that no model may contain (with the line number),
    for a text too large for the machine, and as `estimate` does.
    """
    ids = WordIds()
    text = encode(sentences, ids)
    if not text.n_sentences:
        raise InputError("the text to train on is empty; give at least one line")
    check_memory(len(text.tokens), settings.order)
    return estimate(ids.words, count_ngrams(text, len(ids.words), settings.order), settings)


def train_arpa(
    sentences: Iterable[str], settings: KneserNeySettings, path: Path, *, backend: str = "numpy"
) -> list[int]:
    """Estimate a model and write it as an ARPA file; returns the orders that took the fallback discounts.

    `backend` is one of `BACKENDS`. Raises InputError as `train_ngram` and `train_with_lmplz` do.
    """
    if backend == "lmplz":
        return train_with_lmplz(sentences, settings, path)
    model = train_ngram(sentences, settings)
    write_arpa(model, path)
    return model.fallback_orders


def train_judge(
    sentences: Iterable[str], settings: KneserNeySettings, *, backend: str = "numpy"
) -> tuple[LanguageModel, list[int]]:
    """A judge of `sentences` and its fallback orders.

    Our own model stays in memory: it gives kenlm's scores without the seconds that a file takes to be written and
    read. That of lmplz is loaded by kenlm. Raises InputError as `train_arpa` and `KenlmJudge` do.
    """
    if backend == "numpy":
        model = train_ngram(sentences, settings)
        return NgramModel(model), model.fallback_orders
    with tempfile.TemporaryDirectory(prefix="lm_eval-") as scratch:
        path = Path(scratch, "model.arpa")
        fallback_orders = train_arpa(sentences, settings, path, backend=backend)
        return KenlmJudge(path), fallback_orders


class KenlmJudge:
    """A model file, ARPA or kenlm binary, queried by kenlm."""

    def __init__(self, path: Path) -> None:
        """Raises InputError if kenlm is not installed or does not accept the file."""
        kenlm = _import_kenlm()
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            self._model = kenlm.Model(str(path), config)
        except (OSError, RuntimeError) as error:
            raise InputError(f"kenlm cannot load {path}: {error}") from error

    @property
    def order(self) -> int:
        return int(self._model.order)

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """As `LanguageModel.score`. Sums are in double precision: kenlm's own totals are in single."""
        logs: list[float] = []
        oov: list[bool] = []
        lengths: list[int] = []
        for sentence in canonical_sentences(sentences):
            before = len(logs)
            for log, _, is_oov in self._model.full_scores(sentence):
                logs.append(log)
                oov.append(is_oov)
            lengths.append(len(logs) - before)
        return _sentence_scores(np.array(logs), np.array(oov, dtype=np.bool_), np.array(lengths, dtype=np.int64))


class NgramModel:
    """An n-gram model in memory: kenlm's scores without a file and without kenlm.

    Args:
        tables: as `train_ngram` estimates them.
    """

    def __init__(self, tables: BackoffModel) -> None:
        self.tables = tables
        self._index = NgramIndex(tables)

    @classmethod
    def train(cls, sentences: Iterable[str], order: int | KneserNeySettings = 5) -> NgramModel:
        """Estimate a model of `sentences` by interpolated modified Kneser-Ney; `order`, or all settings.

        Raises InputError as `train_ngram` does.
        """
        settings = order if isinstance(order, KneserNeySettings) else KneserNeySettings(order)
        return cls(train_ngram(sentences, settings))

    @property
    def order(self) -> int:
        return self.tables.order

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """As `LanguageModel.score`."""
        ids = WordIds(self.tables.words, growing=False)
        text = encode(sentences, ids)
        scored = text.tokens != BOS
        logs = _token_log_probs(self.tables, self._index, text)[scored]
        lengths = np.diff(np.flatnonzero(~scored), append=len(scored)) - 1
        return _sentence_scores(logs, text.tokens[scored] == UNK, lengths)

    def save(self, path: str | Path) -> None:
        """Write an ARPA file, which kenlm and other tools read."""
        write_arpa(self.tables, Path(path))


class NgramIndex:
    """Finds n-grams of a model by (number of the first n-1 words, last word)."""

    def __init__(self, model: BackoffModel) -> None:
        self._n_words = len(model.words)
        self._keys = [self._key(table.prefix, table.word) for table in model.tables]

    def find(self, n: int, context: Int32Array, word: Int32Array) -> Int32Array:
        """Numbers, among the n-grams, of context and word (K,) put together; -1 where the model has none."""
        keys, wanted = self._keys[n - 1], self._key(context, word)
        numbers = np.searchsorted(keys, wanted).astype(np.int32)
        inside = numbers < len(keys)
        inside[inside] = keys[numbers[inside]] == wanted[inside]
        numbers[(context < 0) | ~inside] = -1
        return numbers

    def _key(self, prefix: Int32Array, word: Int32Array) -> IntArray:
        return prefix.astype(np.int64) * self._n_words + word


def _token_log_probs(model: BackoffModel, index: NgramIndex, text: EncodedText) -> FloatArray:
    """log10 p of every token of `text` given its predecessors, (P,); 0 for each `<s>`.

    `text` is encoded with the model's own word ids; unknown words have the id of `<unk>`. All tokens are
    looked up at once, order by order: the n-gram that ends at a token is found from the number of its
    first n-1 words, which was found for the token before.
    """
    tokens = text.tokens
    logs: FloatArray = model.tables[0].log_prob[tokens].astype(np.float64)
    below = tokens  # number of the (n-1)-gram that ends at each position; -1 if the model does not have it
    ends = np.flatnonzero(tokens != BOS)  # where n-grams end that lie within a sentence
    for n in range(2, model.order + 1):
        context = below[ends - 1]
        ends, context = ends[context >= 0], context[context >= 0]
        numbers = index.find(n, context, tokens[ends])
        found = numbers >= 0
        logs[ends[found]] = model.tables[n - 1].log_prob[numbers[found]]
        logs[ends[~found]] += model.tables[n - 2].log_backoff[context[~found]]
        below = np.full(len(tokens), -1, dtype=np.int32)
        below[ends] = numbers
        ends = ends[tokens[ends - (n - 1)] != BOS]
    logs[tokens == BOS] = 0.0
    return logs


def _sentence_scores(logs: FloatArray, oov: BoolArray, lengths: IntArray) -> SentenceScores:
    """Sums over sentences of T tokens' log10 probabilities (T,); a sentence's last token is `</s>`."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    nll = logs * -_LN10
    return SentenceScores(
        nll=np.add.reduceat(nll, starts),
        n_tokens=lengths,
        n_oov=np.add.reduceat(oov, starts, dtype=np.int64),
        nll_oov=np.add.reduceat(np.where(oov, nll, 0.0), starts),
        nll_eos=nll[ends - 1],
    )


def _import_kenlm() -> ModuleType:
    try:
        return importlib.import_module("kenlm")
    except ImportError as error:
        raise InputError(
            "n-gram models are queried by the module kenlm, which is not installed; "
            "pip install ufal-kenlm provides it (pip install kenlm too, but that needs a compiler)"
        ) from error
