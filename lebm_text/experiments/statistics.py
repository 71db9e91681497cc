"""Means and intervals over a few seeds.

    mean ± t_{0.975, n−1} · sd / √n      (Student, 1908)

Perplexities are averaged in logarithms: a mean is then the geometric one, a difference a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

__all__ = ["Interval", "mean_interval", "normal_interval", "paired_ratio", "perplexity_interval", "rppl_at"]

# 97.5 % quantiles of Student's t for 1 … 9 degrees of freedom, and of the normal.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL975 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds and its 95 % interval; None where one seed can give none."""

    value: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Of one figure by seed; values, one at least."""
    n, mean = len(values), fmean(values)
    if n < 2:
        return Interval(mean, None, None, n)
    half = _t975(n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def normal_interval(value: float, standard_error: float | None) -> Interval:
    """Of one estimate whose standard error is known otherwise, value ± 1.96 standard errors; n = 1."""
    if standard_error is None:
        return Interval(value, None, None, 1)
    half = _NORMAL975 * standard_error
    return Interval(value, value - half, value + half, 1)


def _t975(freedom: int) -> float:
    """From 10 degrees of freedom on by an expansion about the normal (Fisher and Cornish, 1960), to three digits."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = _NORMAL975
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def perplexity_interval(values: Sequence[float]) -> Interval:
    """The geometric mean of perplexities by seed."""
    logs = mean_interval([math.log(value) for value in values])
    low, high = (None if bound is None else math.exp(bound) for bound in (logs.low, logs.high))
    return Interval(math.exp(logs.value), low, high, logs.n)


def rppl_at(fppl: float, frontier: Sequence[tuple[float, float]]) -> float | None:
    """The RPPL of a frontier where its FPPL is this one; None beyond its ends.

    `frontier`: (FPPL, RPPL) by temperature, in any order; between two of them it is a straight line in logarithms.
    """
    for (low, at_low), (high, at_high) in pairwise(sorted(frontier)):
        if low <= fppl <= high and low < high:
            share = math.log(fppl / low) / math.log(high / low)
            return float(at_low * (at_high / at_low) ** share)
    return None


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> Interval:
    """first / second, both by the same seeds in the same order; below 1 where the first is lower."""
    return perplexity_interval([a / b for a, b in zip(first, second, strict=True)])
