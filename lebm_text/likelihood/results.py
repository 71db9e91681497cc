"""What estimates of log A(x) and log Z say of a text: plain numbers, ready for a report."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lebm_text.samplers.importance import MIN_ESS, LogMean
from lebm_text.text.batching import EncodedCorpus

from .bracket import Bracket
from .estimates import Estimate, Spread, TextLikelihood, mean_of, spread, text_likelihood
from .information import MIN_CHAINS, THRESHOLD, unit_variances
from .partition import LogPartition
from .sentences import AISBounds, AISSettings

__all__ = [
    "AISLikelihood",
    "BracketLikelihood",
    "Difference",
    "ImportanceLikelihood",
    "LatentUse",
    "LogZ",
    "SentenceLikelihood",
    "Text",
]


@dataclass(frozen=True)
class Text:
    """N encoded sentences, in the order in which they are taken.

    Attributes:
        corpus: their ids.
        words: (N,) number of words, `</s>` counted.
        n_bytes: (N,) UTF-8 bytes with the line end; None where bits per byte mean nothing.
    """

    corpus: EncodedCorpus
    words: NDArray[np.int64]
    n_bytes: NDArray[np.int64] | None

    def likelihood(
        self, log_p: NDArray[np.float64], error: NDArray[np.float64], rows: NDArray[np.int64], log_z_error: float = 0.0
    ) -> TextLikelihood:
        """`text_likelihood` of the sentences at `rows`, (n,), of (N,) values or fewer."""
        n_bytes = None if self.n_bytes is None else self.n_bytes[rows]
        return text_likelihood(log_p[rows], error[rows], self.words[rows], log_z_error=log_z_error, n_bytes=n_bytes)

    def estimated(self, log_a: LogMean, rows: NDArray[np.int64], partition: LogPartition) -> TextLikelihood:
        """The same of estimates of log A(x)."""
        log_p = log_a.value.numpy() - partition.reverse.value
        return self.likelihood(log_p, log_a.standard_error.numpy(), rows, partition.reverse.standard_error)


@dataclass(frozen=True)
class LogZ:
    """log Z of the prior by forward AIS (a lower bound), reverse AIS (an upper one) and plain importance sampling."""

    forward: Estimate
    reverse: Estimate
    importance: Estimate | None
    importance_ess: float
    samples_from: str
    acceptance: float
    disagreement: float
    tolerance: float

    @classmethod
    def of(cls, partition: LogPartition) -> LogZ:
        """Without the samples."""
        return cls(**{each.name: getattr(partition, each.name) for each in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class AISLikelihood(TextLikelihood):
    """A stochastic lower bound on log p(x); `ess` of the chains."""

    bound: str = "stochastic lower bound on log p(x)"
    settings: AISSettings
    acceptance: Spread
    ess: Spread

    @classmethod
    def of(cls, ais: AISBounds, settings: AISSettings, partition: LogPartition, text: Text) -> AISLikelihood:
        """Of the first sentences of a text."""
        found = text.estimated(ais.log_a, np.arange(len(ais.acceptance)), partition)
        acceptance, ess = spread(ais.acceptance.numpy()), spread(ais.log_a.ess.numpy())
        return cls(**vars(found), settings=settings, acceptance=acceptance, ess=ess)


@dataclass(frozen=True)
class Difference:
    """Importance sampling minus AIS on the same sentences, in nats: mean, and largest absolute value."""

    n_sentences: int
    importance_minus_ais: float
    largest: float


@dataclass(frozen=True)
class ImportanceLikelihood:
    """Importance sampling; `of_reliable`: of the `n_reliable` sentences whose ess reaches `min_ess` alone."""

    n_sentences: int
    min_ess: float
    n_reliable: int
    ess: Spread
    of_reliable: TextLikelihood | None
    same_sentences: Difference | None

    @classmethod
    def of(
        cls, importance: LogMean, ais: AISBounds | None, partition: LogPartition, text: Text
    ) -> ImportanceLikelihood:
        """Of the first sentences of a text, and `ais` of some of the same."""
        known = np.flatnonzero(importance.ess.numpy() >= MIN_ESS)
        both = known if ais is None else known[known < len(ais.acceptance)]
        same = None
        if ais is not None and len(both):
            difference = importance.value[both] - ais.log_a.value[both]
            same = Difference(len(both), float(difference.mean()), float(difference.abs().max()))
        reliable = text.estimated(importance, known, partition) if len(known) else None
        return cls(len(importance.ess), MIN_ESS, len(known), spread(importance.ess.numpy()), reliable, same)


@dataclass(frozen=True)
class LatentUse:
    """What z carries; None for what one sentence, or too few chains, cannot tell.

    Attributes:
        reconstruction_nll: −E log p(x|z) over posterior chains: no likelihood, since z has seen x.
        information: KL(p(z|x) ‖ p_α) in nats; no bound, since chains that do not end in a draw of p(z|x) make its first
            term too small or too large.
        active_units: number of dimensions of z that vary with the sentence.
        unit_variances: (D,) variance of the posterior mean over sentences.
    """

    reconstruction_nll: Estimate | None
    information: Estimate | None
    active_units: int | None
    unit_variances: list[float] | None

    @classmethod
    def of(cls, ais: AISBounds, partition: LogPartition) -> LatentUse:
        """From the posterior chains of some sentences."""
        log_p, n_chains = ais.log_a.value - partition.reverse.value, len(ais.z)
        if len(log_p) < 2:
            return cls(None, None, None, None)
        variances = unit_variances(ais.z) if n_chains >= MIN_CHAINS else None
        return cls(
            reconstruction_nll=mean_of(-ais.log_likelihood),
            information=mean_of(ais.log_likelihood - log_p),
            active_units=None if variances is None else int((variances > THRESHOLD).sum()),
            unit_variances=None if variances is None else variances.tolist(),
        )


@dataclass(frozen=True)
class BracketLikelihood:
    """Mean bounds on log p(x) of simulated sentences, in nats; nothing else if none of them could be kept."""

    n_sentences: int
    lower: float | None = None
    upper: float | None = None
    gap: Estimate | None = None
    largest_gap: float | None = None
    acceptance: float | None = None

    @classmethod
    def of(cls, found: Bracket, partition: LogPartition) -> BracketLikelihood:
        """With forward and reverse log Z as they keep each bound on its side."""
        n, lower, upper = len(found.lower), found.lower - partition.reverse.value, found.upper - partition.forward.value
        gap = mean_of(upper - lower) if n > 1 else None
        largest = float((upper - lower).max())
        return cls(n, float(lower.mean()), float(upper.mean()), gap, largest, found.acceptance)


@dataclass(frozen=True)
class SentenceLikelihood:
    """One sentence: bound by AIS and its standard error, and value by importance sampling if its ess is enough."""

    n_tokens: int
    log_p_lower: float | None = None
    standard_error: float | None = None
    log_p_importance: float | None = None
    ess: float | None = None

    @classmethod
    def each(
        cls, ais: AISBounds | None, importance: LogMean | None, partition: LogPartition, text: Text
    ) -> list[SentenceLikelihood]:
        """The first sentences of a text, as many as either method was used on."""
        n = 0 if ais is None else len(ais.acceptance)
        m = 0 if importance is None else len(importance.ess)
        log_z, found = partition.reverse.value, []
        for i in range(max(n, m)):
            lower = error = value = ess = None
            if ais is not None and i < n:
                lower = float(ais.log_a.value[i]) - log_z
                error = float(ais.log_a.standard_error[i]) if len(ais.z) > 1 else None
            if importance is not None and i < m:
                ess = float(importance.ess[i])
                value = float(importance.value[i]) - log_z if ess >= MIN_ESS else None
            found.append(cls(int(text.corpus.lengths[i]), lower, error, value, ess))
        return found
