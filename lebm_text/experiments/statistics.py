"""Means and intervals over a few seeds, and two rows of an experiment compared seed by seed.

    mean ± t_{0.975, n−1} · sd / √n      (Student, 1908)

Perplexities are averaged in logarithms: a mean is then the geometric one, a difference a ratio. Temperature trades
FPPL for RPPL: of two rows one is often better on one and worse on the other. At equal
FPPL, the lower RPPL is the better frontier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

from lm_eval.intervals import NORMAL975, t975

__all__ = [
    "GREEDY",
    "METRICS",
    "Figures",
    "Points",
    "RowComparison",
    "SeedInterval",
    "comparison",
    "distance",
    "mean_interval",
    "normal_interval",
    "paired_ratio",
    "perplexity_interval",
    "rppl_at",
    "share_interval",
]

METRICS = ("fppl", "rppl")
GREEDY = "greedy"
Points = dict[str, dict[str, float]]  # decoding → figure → value


@dataclass(frozen=True)
class SeedInterval:
    """A mean over n seeds and its 95 % interval; None with one seed."""

    value: float
    low: float | None
    high: float | None
    n: int


Figures = dict[str, SeedInterval]  # figure → its value


@dataclass(frozen=True)
class RowComparison:
    """Two rows by one judge: by decoding, ratios first / second of figures; None if undefined."""

    judge: str
    first: str
    second: str
    ratios: dict[str, dict[str, SeedInterval | None]]


def mean_interval(values: Sequence[float]) -> SeedInterval:
    """Return the mean of one or more values by seed, with Student's interval."""
    n, mean = len(values), fmean(values)
    if n < 2:
        return SeedInterval(mean, None, None, n)
    half = t975(n - 1) * stdev(values) / math.sqrt(n)
    return SeedInterval(mean, mean - half, mean + half, n)


def share_interval(values: Sequence[float]) -> SeedInterval:
    """Return the mean of shares by seed; its interval is clipped to [0, 1], which it may exceed with few seeds."""
    found = mean_interval(values)
    low, high = (None if bound is None else min(max(bound, 0.0), 1.0) for bound in (found.low, found.high))
    return SeedInterval(found.value, low, high, found.n)


def normal_interval(value: float, standard_error: float | None) -> SeedInterval:
    """Return value ± 1.96 standard errors, for one estimate with a known standard error; n = 1."""
    if standard_error is None:
        return SeedInterval(value, None, None, 1)
    half = NORMAL975 * standard_error
    return SeedInterval(value, value - half, value + half, 1)


def perplexity_interval(values: Sequence[float]) -> SeedInterval:
    """Return the geometric mean of perplexities by seed, and its interval."""
    logs = mean_interval([math.log(value) for value in values])
    low, high = (None if bound is None else math.exp(bound) for bound in (logs.low, logs.high))
    return SeedInterval(math.exp(logs.value), low, high, logs.n)


def rppl_at(fppl: float, frontier: Sequence[tuple[float, float]]) -> float | None:
    """Return the RPPL of a frontier at this FPPL; None beyond its ends.

    `frontier`: (FPPL, RPPL) by temperature, in any order; between two of them it is a straight line in logarithms.
    """
    for (low, at_low), (high, at_high) in pairwise(sorted(frontier)):
        if low <= fppl <= high and low < high:
            share = math.log(fppl / low) / math.log(high / low)
            return float(at_low * (at_high / at_low) ** share)
    return None


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> SeedInterval:
    """Return first / second, values by the same seeds in the same order; below 1 if the first is lower."""
    return perplexity_interval([a / b for a, b in zip(first, second, strict=True)])


def comparison(judge: str, pair: tuple[str, str], points: Mapping[str, Mapping[int, Points]]) -> RowComparison:
    """Compare two rows by decoding: ratios first / second of fppl and rppl over the seeds that both have.

    `rppl_at_second`: the first row's RPPL, interpolated between temperatures to the second's FPPL at
    this one, over the second's; `rppl_at_first`: the first row's at this temperature over the second's, interpolated to
    the first's FPPL. None if a frontier of at least one seed does not reach that far, and for greedy decoding.

    Args:
        judge: copied to the result.
        pair: names of the two rows.
        points: row → seed → figures by decoding.
    """
    first, second = (points[name] for name in pair)
    seeds = [seed for seed in first if seed in second]
    decodings = dict.fromkeys(decoding for seed in first.values() for decoding in seed)
    ratios: dict[str, dict[str, SeedInterval | None]] = {}
    for decoding in decodings:
        both = [(first[s], second[s]) for s in seeds if decoding in first[s] and decoding in second[s]]
        if both:
            ratios[decoding] = {
                metric: _ratio([(a[decoding][metric], b[decoding][metric]) for a, b in both]) for metric in METRICS
            }
            if decoding == GREEDY:  # not part of a frontier
                both = []
            at_second = _at_equal_fppl([(a, b[decoding]) for a, b in both])
            at_first = _at_equal_fppl([(b, a[decoding]) for a, b in both])
            ratios[decoding]["rppl_at_second"] = _ratio(at_second)
            ratios[decoding]["rppl_at_first"] = _ratio([(first_rppl, at) for at, first_rppl in at_first])
    return RowComparison(judge, *pair, ratios)


def distance(known: Mapping[str, float], points: Mapping[int, Points]) -> SeedInterval | None:
    """Return the ratio of a row's RPPL at a point's FPPL to the point's RPPL; None if it is undefined."""
    return (
        _ratio(_at_equal_fppl([(seed, known) for seed in points.values() if seed]))
        if {*METRICS} <= known.keys()
        else None
    )


def _at_equal_fppl(pairs: Sequence[tuple[Points, Mapping[str, float]]]) -> list[tuple[float, float]]:
    """Return (RPPL of a frontier at a point's FPPL, the point's RPPL); empty unless all pairs have it."""
    equal = [(rppl_at(point["fppl"], _frontier(points)), point["rppl"]) for points, point in pairs]
    reached = [(at, rppl) for at, rppl in equal if at is not None]
    return reached if len(reached) == len(pairs) else []


def _ratio(pairs: Sequence[tuple[float, float]]) -> SeedInterval | None:
    return paired_ratio(*zip(*pairs, strict=True)) if pairs else None


def _frontier(points: Points) -> list[tuple[float, float]]:
    return [(point["fppl"], point["rppl"]) for decoding, point in points.items() if decoding != GREEDY]
