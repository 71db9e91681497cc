r"""Statistics of a text from estimates of log A(x) and log Z: plain numbers with their errors, ready for a report.

    perplexity = exp(Σ nll / Σ words),   standard error by the delta method of that ratio, over sentences

Two errors are reported separately: the variation over other sentences, and over other noise for the same sentences.
The error of log Z is common to all sentences and does not average out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.samplers.importance import MIN_ESS, LogMean
from lebm_text.text.batching import EncodedCorpus

from .sentences import AISBounds, AISSettings

__all__ = [
    "TOLERANCE",
    "AISLikelihood",
    "Estimate",
    "ImportanceLikelihood",
    "LogZ",
    "SentenceLikelihood",
    "Spread",
    "Text",
    "TextLikelihood",
    "mean_of",
    "spread",
    "text_likelihood",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TOLERANCE = 0.02  # nats: largest admissible difference of estimates of log Z, and largest standard error


@dataclass(frozen=True)
class Estimate:
    """A number in nats and its standard error."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.standard_error:.4f}"


@dataclass(frozen=True)
class Spread:
    """Smallest, median and mean of some numbers."""

    min: float
    median: float
    mean: float


@dataclass(frozen=True)
class LogZ:
    """Estimates of log Z of the prior, in nats.

    Attributes:
        forward, reverse: by AIS, a lower and an upper bound in expectation.
        importance: by plain importance sampling; None if its effective sample size is too small.
        importance_ess: that size.
        samples_from: source of the samples from which reverse AIS started.
        acceptance: mean acceptance probability of the annealed chains.
        disagreement: largest difference between two of the estimates, or the largest standard error if that is larger;
            nan if one is not finite. Always computed here; a given value is replaced.
        tolerance: the disagreement up to which log Z counts as known.
    """

    forward: Estimate
    reverse: Estimate
    importance: Estimate | None
    importance_ess: float
    samples_from: str
    acceptance: float
    disagreement: float = math.nan
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        known = [each for each in (self.forward, self.reverse, self.importance) if each is not None]
        values, errors = [each.value for each in known], [each.standard_error for each in known]
        largest = max(max(values) - min(values), *errors) if all(map(math.isfinite, values + errors)) else math.nan
        object.__setattr__(self, "disagreement", largest)

    def check(self) -> None:
        """Raise InputError unless the estimates agree: there is no likelihood without log Z."""
        if not self.disagreement <= self.tolerance:
            plain = "" if self.importance is None else f", importance sampling {self.importance}"
            raise InputError(
                f"log Z is not known to {self.tolerance:g} nat: forward AIS {self.forward}, reverse AIS "
                f"{self.reverse}{plain}; take more partition steps or partition chains"
            )


@dataclass(frozen=True, kw_only=True)
class TextLikelihood:
    """log p(x) of a text; None where there is only one sentence, or one chain.

    Attributes:
        n_sentences, n_words: size of the text, `</s>` counted as a word.
        nll: −log p(x) per sentence, in nats.
        nll_standard_error: over sentences.
        nll_sampling_error: standard error from sampling z and from log Z; None if nothing was sampled.
        perplexity: per word.
        bits_per_byte: None if it is meaningless because the tokenizer loses text.
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
    """Return the mean of independent values (N,)."""
    values = values.double()
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def spread(values: Tensor) -> Spread:
    """Return smallest, median and mean of (N,) numbers on the CPU."""
    array = values.numpy()
    return Spread(float(array.min()), float(np.median(array)), float(array.mean()))


def text_likelihood(
    log_p: Floats, error: Floats, words: Integers, *, log_z_error: float, n_bytes: Integers | None = None
) -> TextLikelihood:
    """Return the log-likelihood statistics of the sentences of a text.

    Args:
        log_p: (n,) in nats.
        error: (n,) their standard errors from sampling z; nan if there are none.
        words: (n,) words of each sentence, `</s>` counted.
        log_z_error: standard error of log Z.
        n_bytes: (n,) UTF-8 bytes with the line end, for bits per byte.
    """
    nll = -log_p
    mean, of_mean = _ratio(nll, np.ones(len(nll)))
    per_word, of_word = _ratio(nll, words)
    per_byte, of_byte = (None, None) if n_bytes is None else _ratio(nll / math.log(2), n_bytes)
    noise = math.hypot(math.sqrt(float(np.square(error).sum())) / len(nll), log_z_error)
    perplexity = math.inf if per_word > 700 else math.exp(per_word)
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
    """Return Σ top / Σ bottom and its standard error over resampled pairs."""
    n, ratio = len(top), float(top.sum() / bottom.sum())
    if n < 2:
        return ratio, None
    return ratio, float(math.sqrt(n / (n - 1) * np.square(top - ratio * bottom).sum()) / bottom.sum())


@dataclass(frozen=True)
class Text:
    """N encoded sentences, in the order in which they are used.

    Attributes:
        corpus: their ids.
        words: (N,) number of words, `</s>` counted.
        n_bytes: (N,) UTF-8 bytes with the line end; None if bits per byte are meaningless.
    """

    corpus: EncodedCorpus
    words: Integers
    n_bytes: Integers | None

    def likelihood(self, log_p: Floats, error: Floats, rows: Integers, log_z_error: float = 0.0) -> TextLikelihood:
        """Return `text_likelihood` of the sentences at `rows`, (n,), where the values may cover fewer than N.

        Args:
            log_p: log p(x) in nats.
            error: standard errors from sampling z; nan if there are none.
            rows: (n,) indices of sentences.
            log_z_error: standard error of log Z.
        """
        n_bytes = None if self.n_bytes is None else self.n_bytes[rows]
        return text_likelihood(log_p[rows], error[rows], self.words[rows], log_z_error=log_z_error, n_bytes=n_bytes)

    def estimated(self, log_a: LogMean, rows: Integers, log_z: LogZ) -> TextLikelihood:
        """Return `likelihood` from estimates `log_a` of log A(x), (n,), at `rows`, and one of log Z."""
        log_p = log_a.value.numpy() - log_z.reverse.value
        return self.likelihood(log_p, log_a.standard_error.numpy(), rows, log_z.reverse.standard_error)


@dataclass(frozen=True, kw_only=True)
class AISLikelihood(TextLikelihood):
    """A stochastic lower bound on log p(x); `ess` is that of the chains."""

    bound: str = "stochastic lower bound on log p(x)"
    settings: AISSettings
    acceptance: Spread
    ess: Spread

    @classmethod
    def of(cls, ais: AISBounds, settings: AISSettings, log_z: LogZ, text: Text) -> AISLikelihood:
        """Return the bound for the first sentences of a text."""
        found = text.estimated(ais.log_a, np.arange(len(ais.acceptance)), log_z)
        acceptance, ess = spread(ais.acceptance), spread(ais.log_a.ess)
        return cls(**vars(found), settings=settings, acceptance=acceptance, ess=ess)


@dataclass(frozen=True)
class Difference:
    """Importance sampling minus AIS on the same sentences, in nats: mean, and largest absolute value."""

    n_sentences: int
    importance_minus_ais: float
    largest: float


@dataclass(frozen=True)
class ImportanceLikelihood:
    """log p(x) by importance sampling; `of_reliable` covers only the `n_reliable` sentences with ess of `min_ess`."""

    n_sentences: int
    min_ess: float
    n_reliable: int
    ess: Spread
    of_reliable: TextLikelihood | None
    same_sentences: Difference | None

    @classmethod
    def of(cls, importance: LogMean, ais: AISBounds | None, log_z: LogZ, text: Text) -> ImportanceLikelihood:
        """Return the estimate for the first sentences of a text, compared with `ais` where that covers the same."""
        known = np.flatnonzero(importance.ess.numpy() >= MIN_ESS)
        same = None
        if ais is not None and len(both := known[known < len(ais.acceptance)]):
            difference = importance.value[both] - ais.log_a.value[both]
            same = Difference(len(both), float(difference.mean()), float(difference.abs().max()))
        reliable = text.estimated(importance, known, log_z) if len(known) else None
        return cls(len(importance.ess), MIN_ESS, len(known), spread(importance.ess), reliable, same)


@dataclass(frozen=True)
class SentenceLikelihood:
    """One sentence: AIS bound with standard error, and the importance-sampling value if its ess is large enough."""

    n_tokens: int
    log_p_lower: float | None = None
    standard_error: float | None = None
    log_p_importance: float | None = None
    ess: float | None = None

    @classmethod
    def each(
        cls, ais: AISBounds | None, importance: LogMean | None, log_z: LogZ, text: Text
    ) -> list[SentenceLikelihood]:
        """Return the first sentences of a text, as many as either method covers."""
        n = 0 if ais is None else len(ais.acceptance)
        m = 0 if importance is None else len(importance.ess)
        found = []
        for i in range(max(n, m)):
            lower = error = value = ess = None
            if ais is not None and i < n:
                lower = float(ais.log_a.value[i]) - log_z.reverse.value
                error = float(ais.log_a.standard_error[i]) if len(ais.z) > 1 else None
            if importance is not None and i < m:
                ess = float(importance.ess[i])
                value = float(importance.value[i]) - log_z.reverse.value if ess >= MIN_ESS else None
            found.append(cls(int(text.corpus.lengths[i]), lower, error, value, ess))
        return found
