r"""Means of weights that are only known by their logarithms.

log (1/C) Σ_c exp(w_c)          of unbiased weights: a lower bound on the log of their mean, in expectation (Jensen)
ess = (Σ exp w)² / Σ exp 2w     (Kong, 1992)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Estimate", "LogMean", "log_mean_exp", "mean_of"]


@dataclass(frozen=True)
class Estimate:
    """A number in nats and its standard error."""

    value: float
    standard_error: float


class LogMean(NamedTuple):
    """log of mean weights (B,) in nats, their standard errors by the delta method, and effective sample sizes."""

    value: Tensor
    standard_error: Tensor
    ess: Tensor


def log_mean_exp(log_weights: Tensor) -> LogMean:
    """Over the first axis of (C, B), in float64. One weight has no standard error: nan."""
    log_weights = log_weights.double()
    n = len(log_weights)
    total = log_weights.logsumexp(0)
    ess = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    error = ((n / ess - 1).clamp(min=0) / (n - 1)).sqrt() if n > 1 else torch.full_like(total, math.nan)
    return LogMean(total - math.log(n), error, ess)


def mean_of(values: Tensor) -> Estimate:
    """The mean of independent values (N,)."""
    values = values.double()
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))
