"""Intervals over seeds against figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from lebm_text.experiments.statistics import mean_interval, paired_ratio, perplexity_interval, rppl_at


def test_three_values() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.303 / math.sqrt(3)  # sd = 1
    assert (found.value, found.n) == (2.0, 3)
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([2.0]).low is mean_interval([2.0]).high is None


@pytest.mark.parametrize(("n", "quantile"), [(10, 2.262), (12, 2.201), (20, 2.093), (2000, 1.961)])
def test_more_values_take_their_own_quantile(n: int, quantile: float) -> None:
    found = mean_interval([0.0, 1.0] * (n // 2))
    assert found.high == pytest.approx(0.5 + quantile * 0.5 / math.sqrt(n - 1), rel=1e-3)


def test_perplexities_are_averaged_in_logarithms() -> None:
    assert perplexity_interval([2.0, 8.0]).value == pytest.approx(4.0)


def test_a_ratio_is_taken_seed_by_seed() -> None:
    """Seeds that differ tenfold, but equally for both: the pairs know the ratio exactly."""
    found = paired_ratio([9.0, 90.0, 900.0], [10.0, 100.0, 1000.0])
    for value in (found.value, found.low, found.high):
        assert value == pytest.approx(0.9)
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0], [1.0, 2.0])


def test_a_frontier_is_straight_in_logarithms() -> None:
    frontier = [(8.0, 9.0), (2.0, 36.0), (4.0, 12.0)]
    assert rppl_at(4.0, frontier) == pytest.approx(12.0)
    assert rppl_at(32**0.5, frontier) == pytest.approx(108**0.5)
    assert rppl_at(2.0, frontier) == 36.0
    assert rppl_at(1.9, frontier) is rppl_at(8.1, frontier) is rppl_at(1.0, []) is None
