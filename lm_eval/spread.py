"""Mean and spread of a figure over sample seeds and judge seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev, variance

__all__ = ["Spread", "spread"]


@dataclass(frozen=True)
class Spread:
    """`mean` over all seeds; standard deviations (with n − 1) are None where there is one seed.

    `sd_over_judge_seeds`: of judges on the same samples. `sd_over_sample_seeds`: of the samples' means over
    judges; some of it is the judges' own spread.
    """

    mean: float
    sd_over_judge_seeds: float | None
    sd_over_sample_seeds: float | None
    n_judge_seeds: int
    n_sample_seeds: int


def spread(values: Mapping[tuple[int | None, int | None], float]) -> Spread:
    """Of figures by (sample seed, judge seed), one at least, every judge seed for every sample seed."""
    rows: dict[int | None, list[float]] = {}
    for (sample_seed, _), value in values.items():
        rows.setdefault(sample_seed, []).append(value)
    means = [fmean(row) for row in rows.values()]
    n_judges = len(next(iter(rows.values())))
    return Spread(
        mean=fmean(means),
        sd_over_judge_seeds=math.sqrt(fmean(map(variance, rows.values()))) if n_judges > 1 else None,
        sd_over_sample_seeds=stdev(means) if len(means) > 1 else None,
        n_judge_seeds=n_judges,
        n_sample_seeds=len(means),
    )
