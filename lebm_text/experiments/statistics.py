"""Means and confidence intervals over a few seeds, and paired comparisons of two rows of an experiment.

    mean ± t_{0.975, n−1} · sd / √n      (Student, 1908)

Perplexities are averaged in logarithms: the mean is then geometric, and a difference becomes a ratio. Since temperature
trades FPPL for RPPL, one of two rows often has the better FPPL and the other the better RPPL. Frontiers are therefore
compared by their RPPL, and by the Fréchet distance of embeddings where it is known, at equal FPPL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev

from lm_eval.intervals import NORMAL975, t975
from lm_eval.perplexity import ppl_of
from lm_eval.protocol import METRICS

__all__ = [
    "GREEDY",
    "Figures",
    "Points",
    "RowComparison",
    "SeedInterval",
    "at_fppl",
    "comparison",
    "distance",
    "mean_interval",
    "normal_interval",
    "perplexity_interval",
    "share_interval",
]

_COMPARED = (*METRICS, "frechet")
GREEDY = "greedy"
Points = dict[str, dict[str, float]]  # decoding → figure → value


@dataclass(frozen=True)
class SeedInterval:
    """A mean over n seeds and its 95 % confidence interval, which is None if it is not known, as for one seed.

    `seeds` has the value of each seed, so that the figures of several experiments can be put together, or is empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    seeds: tuple[float, ...] = ()

    @classmethod
    def over(cls, values: Sequence[float], interval: Callable[[Sequence[float]], SeedInterval]) -> SeedInterval:
        """Return the interval of the values of seeds, together with the values."""
        return replace(interval(values), seeds=tuple(values))

    def mapped(self, function: Callable[[float], float]) -> SeedInterval:
        """Return an increasing function of the value and of the ends, as far as they are known."""
        low, high = (None if bound is None else function(bound) for bound in (self.low, self.high))
        return SeedInterval(function(self.value), low, high, self.n)


Figures = dict[str, SeedInterval]  # figure → its value


@dataclass(frozen=True)
class RowComparison:
    """Comparison of two rows under one judge.

    `ratios`: decoding → figure → ratio first / second; None if it is not defined.
    """

    judge: str
    first: str
    second: str
    ratios: dict[str, dict[str, SeedInterval | None]]


def mean_interval(values: Sequence[float]) -> SeedInterval:
    """Return the mean of the values of one or more seeds, with Student's confidence interval if all are finite."""
    n = len(values)
    if not all(map(math.isfinite, values)):  # such as the perplexity by a judge that diverged
        return SeedInterval(sum(values) / n, n=n)
    mean = fmean(values)
    if n < 2:
        return SeedInterval(mean)
    half = t975(n - 1) * stdev(values) / math.sqrt(n)
    return SeedInterval(mean, mean - half, mean + half, n)


def share_interval(values: Sequence[float]) -> SeedInterval:
    """Return the mean of the shares of one or more seeds, with its confidence interval clipped to [0, 1]."""
    return mean_interval(values).mapped(lambda share: min(max(share, 0.0), 1.0))


def normal_interval(value: float, standard_error: float | None) -> SeedInterval:
    """Return value ± 1.96 standard errors, for a single estimate with a known standard error; n is 1."""
    if standard_error is None:
        return SeedInterval(value)
    half = NORMAL975 * standard_error
    return SeedInterval(value, value - half, value + half)


def perplexity_interval(values: Sequence[float]) -> SeedInterval:
    """Return the geometric mean of the perplexities of one or more seeds, with its confidence interval."""
    return mean_interval([math.log(value) for value in values]).mapped(ppl_of)


def at_fppl(fppl: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Return the value of a curve at a given FPPL; None if the curve does not reach it.

    The curve has (FPPL, value) of each temperature, in any order, and is interpolated linearly in logarithms.
    """
    for (low, at_low), (high, at_high) in pairwise(sorted(curve)):
        if low <= fppl <= high and low < high:
            share = math.log(fppl / low) / math.log(high / low)
            return float(at_low * (at_high / at_low) ** share)
    return None


def comparison(judge: str, pair: tuple[str, str], points: Mapping[str, Mapping[int, Points]]) -> RowComparison:
    """Compare two rows by decoding: ratios first / second over the seeds that both have, of the `_COMPARED` figures.

    There are also two ratios at equal FPPL of all but FPPL. For `rppl_at_second`, the RPPL of the first row is
    interpolated to the FPPL that the second row has at this temperature; for `rppl_at_first`, the RPPL of the second
    row is interpolated to the FPPL of the first; so for `frechet_at_second` and `frechet_at_first`. They are None for
    greedy decoding, and if the frontier of any seed does not reach that FPPL.

    `points`: row → seed → decoding → figures.
    """
    first, second = (points[name] for name in pair)
    seeds = [seed for seed in first if seed in second]
    decodings = dict.fromkeys(decoding for seed in first.values() for decoding in seed)
    ratios: dict[str, dict[str, SeedInterval | None]] = {}
    for decoding in decodings:
        both = [(first[s], second[s]) for s in seeds if decoding in first[s] and decoding in second[s]]
        if both:
            known = [name for name in _COMPARED if all(name in a[decoding] and name in b[decoding] for a, b in both)]
            found = {name: _ratio([(a[decoding][name], b[decoding][name]) for a, b in both]) for name in known}
            if decoding == GREEDY:  # not part of a frontier
                both = []
            for name in known[1:]:
                at_second = _at_equal_fppl([(a, b[decoding]) for a, b in both], name)
                at_first = _at_equal_fppl([(b, a[decoding]) for a, b in both], name)
                found[f"{name}_at_second"] = _ratio(at_second)
                found[f"{name}_at_first"] = _ratio([(of_first, at) for at, of_first in at_first])
            ratios[decoding] = found
    return RowComparison(judge, *pair, ratios)


def distance(known: Mapping[str, float], points: Mapping[int, Points]) -> SeedInterval | None:
    """Return the ratio of a row's RPPL, interpolated to the FPPL of a known text, to the text's RPPL.

    It is over seeds, and None if it is not defined. `points`: seed → decoding → figures of the row.
    """
    if not {*METRICS} <= known.keys():
        return None
    return _ratio(_at_equal_fppl([(seed, known) for seed in points.values() if seed], "rppl"))


def _at_equal_fppl(pairs: Sequence[tuple[Points, Mapping[str, float]]], name: str) -> list[tuple[float, float]]:
    """Return (a frontier's value at a point's FPPL, the point's value); empty unless all frontiers reach that FPPL."""
    reached = []
    for points, point in pairs:
        sampled = (each for decoding, each in points.items() if decoding != GREEDY and name in each)
        if (at := at_fppl(point["fppl"], [(each["fppl"], each[name]) for each in sampled])) is None:
            return []
        reached.append((at, point[name]))
    return reached


def _ratio(pairs: Sequence[tuple[float, float]]) -> SeedInterval | None:
    """Return the geometric mean over seeds of the first value of each pair, divided by the second."""
    return SeedInterval.over([first / second for first, second in pairs], perplexity_interval) if pairs else None
