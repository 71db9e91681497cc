"""Axes: from values to positions, and where the ticks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Scale"]

_SPANS_DECADES = 30.0  # greatest over least value from which on an axis is logarithmic
_TICKS = 5
_NOTHING = 1e-100  # smaller values lie at 0: shares of them would leave the numbers of a float
_SAME = 1e-9  # difference, as a share of the values, below which they count as one


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, logarithmic: bool | None = False, margin: float = 0.04) -> Scale:
        """An axis that holds all `values`, with a margin as a share of its length.

        Args:
            values: finite, at least one.
            logarithmic: None: if all are positive and span more than a decade and a half.
        """
        low, high = (0.0 if abs(end) < _NOTHING else end for end in (min(values), max(values)))
        if high - low <= _SAME * max(abs(low), abs(high)):
            high = low
        if logarithmic is None:
            logarithmic = low > 0 and high / low >= _SPANS_DECADES
        if logarithmic and low > 0:
            factor = (high / low) ** margin if high > low else 1.5
            return cls(low / factor, high * factor, True)
        pad = (high - low) * margin if high > low else abs(high) * 0.1 or 1.0
        return cls(low - pad, high + pad)

    def position(self, value: float) -> float:
        """Where `value` lies: 0 at the low end, 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within, between three and about seven of them."""
        if self.logarithmic:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
                found = [digit * 10.0**exponent for exponent in exponents for digit in digits]
                found = [tick for tick in found if self.low <= tick <= self.high]
                if len(found) >= 3:
                    return found[:: math.ceil(len(found) / 7)]
        return self._round_values()

    def labels(self) -> list[str]:
        """What to write at the ticks."""
        ticks = self.ticks()
        gaps = [after - before for before, after in pairwise(ticks)]
        # To the nearer neighbour: as many digits as tell the two apart.
        nearest = map(min, [*gaps, math.inf], [math.inf, *gaps])
        return [_label(tick, gap) for tick, gap in zip(ticks, nearest, strict=True)]

    def _round_values(self) -> list[float]:
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def _label(value: float, gap: float) -> str:
    digits = max(4, math.ceil(math.log10(max(abs(value) / gap, 1.0))) + 2)
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            size = 1e3 if letter == "k" else size
            return f"{value / size:.{digits}g}{letter}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")
