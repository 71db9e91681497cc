r"""How well scores tell anomalous from normal sentences: areas under curves, with intervals, and their differences.

    AUROC   probability that an anomaly scores above a normal sentence, ties counted half
    AUPRC   average precision, anomalies positive; chance is their share

By scikit-learn. Intervals are percentiles over resampled sentences, normal and anomalous ones apart. All scores of a
contrast see the same resamples, so that differences are paired. A resample says how often each sentence counts, so that
one sorting serves them all: ninety times as fast as calling the library for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lebm_text.errors import InputError
from lebm_text.reports.needs import need_sklearn

__all__ = ["Area", "Contrast", "Curves", "Measured", "difference", "verdict"]

Floats = NDArray[np.float64]
METRICS = ("auroc", "auprc")
_POINTS = 200
_COUNTS = 1 << 21  # resamples × sentences that are summed at a time: some 100 MB


@dataclass(frozen=True)
class Area:
    """A figure, its 95 % interval, and its values over the resamples (R,)."""

    value: float
    ci95: tuple[float, float]
    draws: Floats


@dataclass(frozen=True)
class Measured:
    """What a score achieves in one contrast."""

    auroc: Area
    auprc: Area


@dataclass(frozen=True)
class Curves:
    """Points of the ROC curve and of precision over recall, (P,) each."""

    false_positive_rate: Floats
    true_positive_rate: Floats
    recall: Floats
    precision: Floats

    def record(self) -> dict[str, list[list[float]]]:
        """Ready for JSON: pairs of numbers, at most `_POINTS` of each curve, its ends among them."""
        pairs = {
            "roc": (self.false_positive_rate, self.true_positive_rate),
            "precision_over_recall": (self.recall, self.precision),
        }
        return {name: _thinned(np.stack(pair, axis=1)).tolist() for name, pair in pairs.items()}


class Contrast:
    """Normal against anomalous sentences: N and M scores, high is anomalous."""

    def __init__(
        self, n_normal: int, n_anomalous: int, *, n_resamples: int = 500, paired: bool = False, seed: int = 1
    ) -> None:
        """`paired`: anomaly i was made of normal sentence i, and the two are resampled together.

        Raises InputError without scikit-learn, or if there are fewer than two sentences of a kind.
        """
        need_sklearn("areas under curves")
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

    def measure(self, normal: Floats, anomalous: Floats) -> Measured:
        """AUROC and AUPRC of a score. Raises ValueError for values that are not finite."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        values = self._joined(normal, anomalous)
        areas = []
        n_blocks = 1 + self._counts.size // _COUNTS
        blocks = [_areas(self.labels, values, counts) for counts in np.array_split(self._counts, n_blocks)]
        for function, of_blocks in zip(
            (roc_auc_score, average_precision_score), zip(*blocks, strict=True), strict=True
        ):
            draws = np.concatenate(of_blocks)
            low, high = np.quantile(draws, [0.025, 0.975])
            areas.append(Area(float(function(self.labels, values)), (float(low), float(high)), draws))
        return Measured(*areas)

    def curves(self, normal: Floats, anomalous: Floats) -> Curves:
        """The curves whose areas `measure` gives."""
        from sklearn.metrics import precision_recall_curve, roc_curve

        values = self._joined(normal, anomalous)
        false_rate, true_rate, _ = roc_curve(self.labels, values)
        precision, recall, _ = precision_recall_curve(self.labels, values)
        return Curves(false_rate, true_rate, recall, precision)

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


def _thinned(points: Floats) -> Floats:
    kept: Floats = points[np.unique(np.linspace(0, len(points) - 1, _POINTS).round().astype(int))]
    return kept


def difference(one: Area, other: Area) -> tuple[float, tuple[float, float]]:
    """one − other, with its 95 % interval; both of the same contrast."""
    low, high = np.quantile(one.draws - other.draws, [0.025, 0.975])
    return one.value - other.value, (float(low), float(high))


def verdict(ci95: tuple[float, float]) -> str:
    """What the interval of a difference from a baseline says: better, worse, or no difference shown."""
    low, high = ci95
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"
