"""n-gram judges: text → model → sentence scores, in memory or through a file and kenlm.

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
from .counts import BOS, UNK, WordIds, canonical_sentences, count_ngrams, encode
from .kneser_ney import KneserNeySettings, NgramModel, estimate
from .lmplz import train_with_lmplz
from .lookup import NgramIndex, token_log_probs
from .memory import check_memory

__all__ = ["BACKENDS", "InMemoryJudge", "KenlmJudge", "train_arpa", "train_judge", "train_ngram"]

BACKENDS = ("numpy", "lmplz")
_LN10 = math.log(10)
BoolArray = npt.NDArray[np.bool_]


def train_ngram(sentences: Iterable[str], settings: KneserNeySettings) -> NgramModel:
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
        return InMemoryJudge(model), model.fallback_orders
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


class InMemoryJudge:
    """A model as it was estimated, without an ARPA file and without kenlm; the same scores."""

    def __init__(self, model: NgramModel) -> None:
        self._model = model
        self._index = NgramIndex(model)

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """As `LanguageModel.score`."""
        ids = WordIds(self._model.words, growing=False)
        text = encode(sentences, ids)
        scored = text.tokens != BOS
        logs = token_log_probs(self._model, self._index, text)[scored]
        lengths = np.diff(np.flatnonzero(~scored), append=len(scored)) - 1
        return _sentence_scores(logs, text.tokens[scored] == UNK, lengths)


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
