r"""How well scores tell anomalous from normal sentences: areas under curves, with intervals, and their differences.

    AUROC   probability that an anomaly scores above a normal sentence, ties counted half
    AUPRC   average precision, anomalies positive; chance is their share

By scikit-learn. Intervals are percentiles over resampled sentences, normal and anomalous ones apart. All scores see the
same resamples, so that differences are paired. A resample says how often each sentence counts, so that one sorting
serves them all: ninety times as fast as calling the library for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lebm_text.errors import InputError

from .base import Interval

__all__ = ["Area", "Areas", "Curves", "Floats", "Resampled", "difference", "verdict"]

Floats = NDArray[np.float64]
_POINTS = 200
_COUNTS = 1 << 21  # resamples × sentences that are summed at a time: some 100 MB


@dataclass(frozen=True)
class Area:
    """A figure, its 95 % interval, and its values over the resamples (R,)."""

    value: float
    ci95: Interval
    draws: Floats


@dataclass(frozen=True)
class Areas:
    """What a score achieves."""

    auroc: Area
    auprc: Area


@dataclass(frozen=True)
class Curves:
    """Points of the curves whose areas `Areas` has, at most `_POINTS` of each, its ends among them.

    Attributes:
        roc: share of normal sentences above a threshold, and of anomalies.
        precision_over_recall: recall of anomalies, and precision.
    """

    roc: list[tuple[float, float]]
    precision_over_recall: list[tuple[float, float]]


class Resampled:
    """Normal and anomalous sentences, and resamples of them; scores of N and M sentences, high is anomalous."""

    def __init__(
        self, n_normal: int, n_anomalous: int, *, n_resamples: int = 500, paired: bool = False, seed: int = 1
    ) -> None:
        """`paired`: anomaly i was made of normal sentence i, and the two are resampled together.

        Raises:
            InputError: fewer than two sentences of a kind.
        """
        if min(n_normal, n_anomalous) < 2:
            raise InputError(f"a contrast needs 2 sentences of each kind, got {n_normal} and {n_anomalous}")
        if paired and n_normal != n_anomalous:
            raise ValueError(f"paired sentences must be as many, got {n_normal} and {n_anomalous}")
        self.labels = np.repeat([0, 1], [n_normal, n_anomalous])
        rng = np.random.Generator(np.random.PCG64(seed))
        normal = rng.multinomial(n_normal, np.full(n_normal, 1 / n_normal), size=n_resamples)
        share = np.full(n_anomalous, 1 / n_anomalous)
        anomalous = normal if paired else rng.multinomial(n_anomalous, share, size=n_resamples)
        self._counts = np.concatenate([normal, anomalous], axis=1, dtype=np.int32, casting="same_kind")

    @property
    def share(self) -> float:
        """Of anomalies: the AUPRC of a score that knows nothing."""
        return float(self.labels.mean())

    def areas(self, normal: Floats, anomalous: Floats) -> Areas:
        """AUROC and AUPRC of a score. Raises ValueError for values that are not finite."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        values = self._joined(normal, anomalous)
        n_blocks = 1 + self._counts.size // _COUNTS
        blocks = [_areas(self.labels, values, counts) for counts in np.array_split(self._counts, n_blocks)]
        found = []
        for function, parts in zip((roc_auc_score, average_precision_score), zip(*blocks, strict=True), strict=True):
            draws = np.concatenate(parts)
            found.append(Area(float(function(self.labels, values)), _ci95(draws), draws))
        return Areas(*found)

    def curves(self, normal: Floats, anomalous: Floats) -> Curves:
        """The curves of a score."""
        from sklearn.metrics import precision_recall_curve, roc_curve

        values = self._joined(normal, anomalous)
        false_rate, true_rate, _ = roc_curve(self.labels, values)
        precision, recall, _ = precision_recall_curve(self.labels, values)
        return Curves(_thinned(false_rate, true_rate), _thinned(recall, precision))

    def _joined(self, normal: Floats, anomalous: Floats) -> Floats:
        values = np.concatenate([normal, anomalous])
        if len(values) != len(self.labels) or not np.isfinite(values).all():
            raise ValueError(f"expected {len(self.labels)} finite scores, got {len(values)}")
        return values


def _areas(labels: NDArray[np.int64], values: Floats, counts: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """AUROC and AUPRC (R,) of scores (N,) where sentence i counts counts[r, i] times."""
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.inf))  # of equal scores
    positive, negative = (
        np.add.reduceat(counts[:, order] * (labels[order] == label), starts, axis=1).astype(float) for label in (1, 0)
    )
    hits, errors = positive.cumsum(1), negative.cumsum(1)
    n_positive, n_negative = hits[:, -1:], errors[:, -1:]
    below = n_negative - errors + 0.5 * negative
    auroc = (positive * below).sum(1) / (n_positive * n_negative)[:, 0]
    precision = hits / np.maximum(hits + errors, 1)
    return auroc, (positive * precision).sum(1) / n_positive[:, 0]


def _thinned(x: Floats, y: Floats) -> list[tuple[float, float]]:
    kept = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _ci95(draws: Floats) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def difference(one: Area, other: Area) -> tuple[float, Interval]:
    """one − other, with its 95 % interval; both on the same resamples."""
    return one.value - other.value, _ci95(one.draws - other.draws)


def verdict(ci95: Interval) -> str:
    """What the interval of a difference from a baseline says: better, worse, or no difference shown."""
    low, high = ci95
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"
