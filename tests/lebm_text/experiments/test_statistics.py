"""Intervals over seeds against figures worked out by hand."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from lebm_text.experiments.statistics import (
    SeedInterval,
    _ratio,
    at_fppl,
    comparison,
    distance,
    mean_interval,
    normal_interval,
    perplexity_interval,
    share_interval,
)


def test_three_values() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.303 / math.sqrt(3)  # sd = 1
    assert (found.value, found.n) == (2.0, 3)
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)


def test_two_values() -> None:
    found = mean_interval([1.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 12.706, 2 + 12.706))  # sd/√n = 1


def test_one_value_has_no_interval() -> None:
    assert mean_interval([2.0]).low is mean_interval([2.0]).high is None


def test_a_value_that_is_not_finite_leaves_no_interval() -> None:
    assert perplexity_interval([2.0, math.inf]) == SeedInterval(math.inf, n=2)
    assert math.isnan(mean_interval([math.inf, -math.inf]).value)
    high = perplexity_interval([2.0, 1e300]).high  # e^4,710
    assert high == math.inf


def test_a_share_stays_between_0_and_1() -> None:
    assert share_interval([0.1, 0.3]).low == 0.0
    assert share_interval([0.9, 0.7]).high == 1.0
    assert share_interval([0.5, 0.51]) == mean_interval([0.5, 0.51])
    assert share_interval([0.5]).low is None


@pytest.mark.parametrize(("n", "quantile"), [(10, 2.262), (12, 2.201), (20, 2.093), (2000, 1.961)])
def test_more_values_take_their_own_quantile(n: int, quantile: float) -> None:
    found = mean_interval([0.0, 1.0] * (n // 2))
    assert found.high == pytest.approx(0.5 + quantile * 0.5 / math.sqrt(n - 1), rel=1e-3)


def test_perplexities_are_averaged_in_logarithms() -> None:
    assert perplexity_interval([2.0, 8.0]).value == pytest.approx(4.0)


def test_a_ratio_is_taken_seed_by_seed() -> None:
    """Seeds that differ tenfold, but equally for both: the pairs know the ratio exactly."""
    found = _ratio([(9.0, 10.0), (90.0, 100.0), (900.0, 1000.0)])
    assert found is not None and _ratio([]) is None
    for value in (found.value, found.low, found.high):
        assert value == pytest.approx(0.9)


def test_a_frontier_is_straight_in_logarithms() -> None:
    frontier = [(8.0, 9.0), (2.0, 36.0), (4.0, 12.0)]
    assert at_fppl(4.0, frontier) == pytest.approx(12.0)
    assert at_fppl(32**0.5, frontier) == pytest.approx(108**0.5)
    assert (at_fppl(2.0, frontier), at_fppl(8.0, frontier)) == pytest.approx((36.0, 9.0))
    assert at_fppl(4.0, [(4.0, 12.0), (4.0, 20.0)]) is None  # no line joins the two
    assert at_fppl(1.9, frontier) is at_fppl(8.1, frontier) is at_fppl(1.0, []) is None


def test_an_error_known_otherwise_gives_1_96_of_it_to_either_side() -> None:
    assert normal_interval(5.0, 0.5) == SeedInterval(5.0, pytest.approx(4.02002), pytest.approx(5.97998), 1)  # type: ignore[arg-type]
    assert normal_interval(5.0, None) == SeedInterval(5.0, None, None, 1)


def test_every_figure_of_a_comparison_is_its_definition() -> None:
    """Two seeds that both have; by decoding, the ratio of each figure and of RPPL at the other's FPPL."""
    first = {
        1: {"T=1": {"fppl": 8.0, "rppl": 10.0}, "T=0.5": {"fppl": 2.0, "rppl": 40.0}},
        2: {
            "T=1": {"fppl": 16.0, "rppl": 12.0},
            "T=0.5": {"fppl": 4.0, "rppl": 48.0},
            "greedy": {"fppl": 1.5, "rppl": 90.0},
        },
        3: {"T=1": {"fppl": 1.0, "rppl": 1.0}},
    }
    second = {
        1: {"T=1": {"fppl": 4.0, "rppl": 25.0}, "T=0.5": {"fppl": 1.0, "rppl": 100.0}},
        2: {
            "T=1": {"fppl": 8.0, "rppl": 30.0},
            "T=0.5": {"fppl": 2.0, "rppl": 120.0},
            "greedy": {"fppl": 1.2, "rppl": 60.0},
        },
    }
    found = asdict(comparison("kn5", ("a", "b"), {"a": first, "b": second}))
    assert (found["judge"], found["first"], found["second"]) == ("kn5", "a", "b")
    ratios = found["ratios"]
    assert list(ratios) == ["T=1", "T=0.5", "greedy"]
    values = {
        decoding: {name: each and round(each["value"], 6) for name, each in of.items()}
        for decoding, of in ratios.items()
    }
    assert values["T=1"] == {
        "fppl": 2.0,
        "rppl": 0.4,
        "rppl_at_second": 0.8,  # 20 against 25 and 24 against 30: half-way along the first's line in logarithms
        "rppl_at_first": None,  # the second's frontier ends before the first's FPPL
    }
    assert values["T=0.5"] == {
        "fppl": 2.0,
        "rppl": 0.4,
        "rppl_at_second": None,
        "rppl_at_first": 0.8,  # 40 against 50 and 48 against 60
    }
    assert values["greedy"] == {"fppl": 1.25, "rppl": 1.5, "rppl_at_second": None, "rppl_at_first": None}
    assert (ratios["T=1"]["fppl"]["n"], ratios["greedy"]["fppl"]["n"]) == (2, 1)


def test_meaning_is_compared_at_equal_fppl_where_both_have_it() -> None:
    first = {
        "T=1": {"fppl": 8.0, "rppl": 10.0, "frechet": 50.0},
        "T=0.5": {"fppl": 2.0, "rppl": 40.0, "frechet": 200.0},
    }
    second = {"T=1": {"fppl": 4.0, "rppl": 25.0, "frechet": 125.0}, "T=0.5": {"fppl": 1.0, "rppl": 99.0}}
    ratios = comparison("kn5", ("a", "b"), {"a": {1: first}, "b": {1: second}}).ratios
    assert {name: each and round(each.value, 6) for name, each in ratios["T=1"].items() if "frechet" in name} == {
        "frechet": 0.4,
        "frechet_at_second": 0.8,  # 100 against 125: half-way along the first's line in logarithms
        "frechet_at_first": None,  # one point of the second is no line
    }
    assert not any("frechet" in name for name in ratios["T=0.5"])
    some = {"T=1": {"fppl": 8.0, "rppl": 10.0}}  # a seed without it takes the figure of the others with it
    of_two = comparison("kn5", ("a", "b"), {"a": {1: first, 2: some}, "b": {1: second, 2: some}}).ratios["T=1"]
    assert list(of_two) == ["fppl", "rppl", "rppl_at_second", "rppl_at_first"]


def test_a_seed_beyond_the_ends_or_without_a_decoding_takes_the_others_with_it_or_not() -> None:
    """At equal FPPL every seed must have one; a decoding is compared over the seeds in which both have it."""
    line = {"T=1": {"fppl": 8.0, "rppl": 10.0}, "T=0.5": {"fppl": 2.0, "rppl": 40.0}}
    near, far = {"T=1": {"fppl": 4.0, "rppl": 25.0}}, {"T=1": {"fppl": 9.0, "rppl": 30.0}}
    found = asdict(comparison("kn5", ("a", "b"), {"a": {1: line, 2: line}, "b": {1: near, 2: far}}))["ratios"]
    assert list(found) == ["T=1"]
    assert found["T=1"]["rppl_at_second"] is None
    assert found["T=1"]["fppl"]["n"] == 2
    found = asdict(comparison("kn5", ("a", "b"), {"a": {1: line, 2: line}, "b": {1: line, 2: near}}))["ratios"]
    assert (found["T=1"]["fppl"]["n"], found["T=0.5"]["fppl"]["n"]) == (2, 1)


def test_the_distance_from_a_known_point_is_that_in_rppl() -> None:
    points = {
        1: {
            "T=1": {"fppl": 8.0, "rppl": 10.0},
            "T=0.5": {"fppl": 2.0, "rppl": 40.0},
            "greedy": {"fppl": 1.5, "rppl": 90.0},
        }
    }
    found = distance({"fppl": 4.0, "rppl": 25.0}, points)
    assert found is not None
    assert found.value == pytest.approx(0.8)
    assert distance({"fppl": 1.6, "rppl": 25.0}, points) is None  # greedy decoding is no part of a frontier
    assert distance({"fppl": 4.0}, points) is None
    assert distance({"fppl": 4.0, "rppl": 25.0}, {**points, 2: {}}) == found  # a seed that is not judged yet
