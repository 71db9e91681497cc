"""Values that move with the epoch: likelihood weights and noise scales of the posterior chain."""

from __future__ import annotations

__all__ = ["geometric", "linear"]


def linear(start: float, end: float, progress: float) -> float:
    """From `start` to `end` as progress goes from 0 to 1, constant outside."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def geometric(start: float, end: float, progress: float) -> float:
    """As `linear`, with equal ratios for equal progress; both ends must be > 0."""
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))
