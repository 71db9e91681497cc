"""Sentence scores → one perplexity with a bootstrap interval, and the spread of a figure over seeds.

ppl = exp(Σ nll / Σ tokens), one ratio for the whole text, not a mean over sentences. A sentence's tokens are its words
and `</s>`, never `<s>`; logs are natural.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

import numpy as np

from lebm_text.errors import InputError

from .counts import BoolArray, FloatArray, IntArray
from .intervals import NORMAL975, t975_expanded

__all__ = ["PerplexityScore", "SeedSpread", "SentenceScores", "paired_ratio_ci95", "perplexity", "ppl_of", "spread"]

_DRAWS = 1000
_DRAWS_AT_ONCE = 20  # bounds the memory of the index array


@dataclass(frozen=True)
class SentenceScores:
    """Scores of S sentences: five arrays (S,), negative log-likelihoods in nats, `</s>` included.

    `nll_oov` is the part of `nll` due to the `n_oov` tokens that the judge's training text lacks, `nll_eos` the
    part due to `</s>`; protocols that leave these tokens out subtract them.
    """

    nll: FloatArray
    n_tokens: IntArray
    n_oov: IntArray
    nll_oov: FloatArray
    nll_eos: FloatArray

    def __len__(self) -> int:
        return len(self.nll)

    @classmethod
    def of_tokens(cls, logs: FloatArray, oov: BoolArray, lengths: IntArray) -> SentenceScores:
        """Sum the log10 probabilities of T tokens (T,) over sentences; a sentence's last token is `</s>`.

        Args:
            logs: (T,) log10 probabilities.
            oov: (T,) whether the judge's training text lacks the token.
            lengths: (S,) tokens per sentence.
        """
        ends = np.cumsum(lengths)
        starts = ends - lengths
        nll = logs * -math.log(10)
        return cls(
            nll=np.add.reduceat(nll, starts),
            n_tokens=lengths,
            n_oov=np.add.reduceat(oov, starts, dtype=np.int64),
            nll_oov=np.add.reduceat(np.where(oov, nll, 0.0), starts),
            nll_eos=nll[ends - 1],
        )


@dataclass(frozen=True)
class PerplexityScore:
    """Perplexity of a text.

    `ppl` counts words outside the judge's vocabulary at the probability the judge gives them, `ppl_excluding_oov`
    leaves them out (None if there are no others). `nll` is the total in nats. `ci95` is the 2.5 % to 97.5 % range
    over resampled sentences, widened if they are few, with judge and text fixed, as `ci_scope` states. `draws` are the
    mean nats per token of the 1000 resampled texts, for paired comparisons.
    """

    ppl: float
    ppl_excluding_oov: float | None
    nll: float
    ci95: tuple[float, float]
    n_sentences: int
    n_tokens: int
    n_oov: int
    draws: FloatArray
    ci_scope: str = "sentences"


def perplexity(scores: SentenceScores, *, count_eos: bool = True, seed: int = 1) -> PerplexityScore:
    """Return the perplexity of all sentences together.

    The same seed resamples the same sentences of all texts of equal length, so intervals of several judges
    on one text are paired.

    Args:
        scores: of the sentences.
        count_eos: False leaves `</s>` out of both sums.
        seed: of the resampling.

    Raises:
        InputError: there is no token to score.
    """
    nll = scores.nll if count_eos else scores.nll - scores.nll_eos
    n_tokens = scores.n_tokens if count_eos else scores.n_tokens - 1
    total, tokens, n_oov = float(nll.sum()), int(n_tokens.sum()), int(scores.n_oov.sum())
    if not tokens:
        raise InputError("there is nothing to score: the text has no sentence, or only empty ones")
    known, draws = tokens - n_oov, _bootstrap(nll, n_tokens, seed)
    without_oov = ppl_of((total - float(scores.nll_oov.sum())) / known) if known else None
    ci95 = _range95(draws, total / tokens, len(scores))
    return PerplexityScore(ppl_of(total / tokens), without_oov, total, ci95, len(scores), tokens, n_oov, draws)


def paired_ratio_ci95(score: PerplexityScore, reference: PerplexityScore) -> tuple[float, float]:
    """Return the 95 % interval of ppl / reference.ppl for two judges on the same sentences, scored with one seed."""
    n, m = score.n_sentences, reference.n_sentences
    if n != m:
        raise ValueError(f"a paired interval needs the same sentences, got {n} and {m}")
    log_ratio = score.nll / score.n_tokens - reference.nll / reference.n_tokens
    return _range95(score.draws - reference.draws, log_ratio, n)


def _bootstrap(nll: FloatArray, n_tokens: IntArray, seed: int) -> FloatArray:
    """Return mean nats per token of `_DRAWS` texts drawn from the sentences with replacement, (`_DRAWS`,)."""
    rng = np.random.default_rng(seed)
    draws = np.empty(_DRAWS)
    for start in range(0, _DRAWS, _DRAWS_AT_ONCE):
        rows = rng.integers(len(nll), size=(min(_DRAWS_AT_ONCE, _DRAWS - start), len(nll)))
        tokens = n_tokens[rows].sum(axis=1)
        # A draw of empty sentences alone has no perplexity; the text's own is used.
        means = nll[rows].sum(axis=1) / np.maximum(tokens, 1)
        draws[start : start + len(rows)] = np.where(tokens > 0, means, nll.sum() / n_tokens.sum())
    return draws


def _range95(log_draws: FloatArray, log_value: float, n: int) -> tuple[float, float]:
    """Return exp of the middle 95 % of draws from n sentences, the ends widened about the value by `_widening`."""
    ordered = np.sort(log_draws)
    cut = round(0.025 * (len(ordered) - 1))
    low, high = float(ordered[cut]), float(ordered[-1 - cut])
    if n < 2 or not math.isfinite(high - low + log_value):
        return ppl_of(low), ppl_of(high)
    wider = _widening(n)
    return ppl_of(log_value - wider * (log_value - low)), ppl_of(log_value + wider * (high - log_value))


def _widening(n: int) -> float:
    """Return √(n / (n − 1)) t / 1.96, t the 97.5 % quantile of Student's distribution with n − 1 degrees of freedom.

    Resampling divides by n, not n − 1, and its quantiles are normal where t is right: with 30 sentences 91.7 % of
    the plain intervals contained the true value, 93.7 % of the widened ones (`docs/which-perplexity.md`).
    """
    return math.sqrt(n / (n - 1)) * t975_expanded(max(n - 1, 3)) / NORMAL975


def ppl_of(nll: float) -> float:
    """Return the perplexity exp(nll) of nats per token; infinity where it overflows, as by a token of probability 0."""
    return math.inf if nll > 700 else math.exp(nll)


@dataclass(frozen=True)
class SeedSpread:
    """Mean and standard deviations (with n − 1) of a figure over seeds; None where there is one seed.

    `sd_over_judge_seeds` is over judges of the same samples, `sd_over_sample_seeds` over the samples' means over
    judges; part of the latter is the spread of the judges.
    """

    mean: float
    sd_over_judge_seeds: float | None
    sd_over_sample_seeds: float | None
    n_judge_seeds: int
    n_sample_seeds: int


def spread(values: Mapping[tuple[int | None, int | None], float]) -> SeedSpread:
    """Return the spread of one or more figures by (sample seed, judge seed), every judge seed for every sample seed."""
    rows: dict[int | None, list[float]] = {}
    for (sample_seed, _), value in values.items():
        rows.setdefault(sample_seed, []).append(value)
    means = [fmean(row) for row in rows.values()]
    n_judges = len(next(iter(rows.values())))
    return SeedSpread(
        mean=fmean(means),
        sd_over_judge_seeds=math.sqrt(fmean(_finite(variance, row) for row in rows.values())) if n_judges > 1 else None,
        sd_over_sample_seeds=_finite(stdev, means) if len(means) > 1 else None,
        n_judge_seeds=n_judges,
        n_sample_seeds=len(means),
    )


def _finite(deviation: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    """Return a deviation; nan if a value is not finite, such as the perplexity by a judge that diverged."""
    return deviation(values) if all(map(math.isfinite, values)) else math.nan
