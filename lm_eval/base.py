"""What a judge is: sentences in, negative log-likelihoods out.

Units are nats; a sentence's tokens are its words and `</s>`, never `<s>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError
from lebm_text.text.reading import normalise

__all__ = ["FloatArray", "IntArray", "LanguageModel", "SentenceScores", "TrainingReport", "naming", "split_words"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def split_words(sentence: str) -> list[str]:
    """The words of a sentence: what blanks and tabs separate, and nothing else does."""
    line = normalise(sentence)
    return line.split(" ") if line else []


@dataclass(frozen=True)
class SentenceScores:
    """Scores of S sentences: five arrays (S,), log-likelihoods in nats, `</s>` included.

    `nll_oov` is the part of `nll` that falls on the `n_oov` tokens which the judge never saw, `nll_eos` the
    part that falls on `</s>`; protocols that leave these tokens out subtract them.
    """

    nll: FloatArray
    n_tokens: IntArray
    n_oov: IntArray
    nll_oov: FloatArray
    nll_eos: FloatArray

    def __len__(self) -> int:
        return len(self.nll)


@dataclass(frozen=True)
class TrainingReport:
    """How a judge that learns in epochs came about.

    Attributes:
        seconds: of its training.
        valid_ppl: its perplexity of the validation text.
        precision: that it was trained in.
        cached: whether that was at an earlier time.
    """

    n_epochs: int
    best_epoch: int
    seconds: float
    valid_ppl: float
    precision: str
    cached: bool = False


class LanguageModel(Protocol):
    """A trained judge."""

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score every sentence. Raises InputError, with the line number, for text that cannot be scored."""
        ...


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Name the text in whatever is refused of it: `samples.txt: line 3 contains …`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
