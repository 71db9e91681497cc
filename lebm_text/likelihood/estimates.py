r"""Numbers with their errors: a mean over independent values, and what log p(x) of n sentences says of a text.

    perplexity = exp(Σ nll / Σ words),   standard error by the delta method of that ratio, over sentences

Two errors stand apart: what other sentences would have given, and what other noise would have given the same sentences.
The error of log Z is common to all sentences and is not averaged away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Estimate", "Spread", "TextLikelihood", "mean_of", "spread", "text_likelihood"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A number in nats and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Spread:
    """Smallest, median and mean of some numbers."""

    min: float
    median: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class TextLikelihood:
    """log p(x) of a text; None for what one sentence, or one chain, cannot tell.

    Attributes:
        n_sentences, n_words: size of the text, `</s>` counted as a word.
        nll: −log p(x) per sentence, in nats.
        nll_standard_error: over sentences.
        nll_sampling_error: standard error from sampling z and from log Z; None if nothing was sampled.
        perplexity: per word.
        bits_per_byte: None where it means nothing, since the tokenizer loses text.
    """

    n_sentences: int
    n_words: int
    nll: float
    nll_standard_error: float | None
    nll_sampling_error: float | None
    perplexity: float
    perplexity_standard_error: float | None
    bits_per_byte: float | None
    bits_per_byte_standard_error: float | None


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values (N,)."""
    values = values.double()
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def spread(values: Floats) -> Spread:
    """Of (N,) numbers."""
    return Spread(float(values.min()), float(np.median(values)), float(values.mean()))


def text_likelihood(
    log_p: Floats, error: Floats, words: Integers, *, log_z_error: float, n_bytes: Integers | None = None
) -> TextLikelihood:
    """Sum up the sentences of a text.

    Args:
        log_p: (n,) in nats.
        error: (n,) their standard errors from sampling z; nan where there is none.
        words: (n,) words of each sentence, `</s>` counted.
        log_z_error: standard error of log Z.
        n_bytes: (n,) UTF-8 bytes with the line end, for bits per byte.
    """
    nll = -log_p
    mean, of_mean = _ratio(nll, np.ones(len(nll)))
    per_word, of_word = _ratio(nll, words)
    per_byte, of_byte = (None, None) if n_bytes is None else _ratio(nll / math.log(2), n_bytes)
    noise = math.hypot(math.sqrt(float(np.square(error).sum())) / len(nll), log_z_error)
    perplexity = math.exp(per_word)
    return TextLikelihood(
        n_sentences=len(nll),
        n_words=int(words.sum()),
        nll=mean,
        nll_standard_error=of_mean,
        nll_sampling_error=None if math.isnan(noise) else noise,
        perplexity=perplexity,
        perplexity_standard_error=None if of_word is None else perplexity * of_word,
        bits_per_byte=per_byte,
        bits_per_byte_standard_error=of_byte,
    )


def _ratio(top: Floats, bottom: Floats | Integers) -> tuple[float, float | None]:
    """Σ top / Σ bottom and its standard error over resampled pairs."""
    n, ratio = len(top), float(top.sum() / bottom.sum())
    if n < 2:
        return ratio, None
    return ratio, float(math.sqrt(n / (n - 1) * np.square(top - ratio * bottom).sum()) / bottom.sum())
