"""Mean and standard deviation over sample seeds and judge seeds."""

from __future__ import annotations

import math

import pytest

from lm_eval.perplexity import spread


def test_judges_spread_on_the_same_samples_and_samples_spread_in_their_means() -> None:
    values: dict[tuple[int | None, int | None], float] = {
        (1, 1): 9.0,
        (1, 2): 11.0,  # mean 10, variance 2
        (2, 1): 12.0,
        (2, 2): 16.0,  # mean 14, variance 8
    }
    found = spread(values)
    assert found.mean == 12
    assert found.sd_over_judge_seeds == pytest.approx(5**0.5)
    assert found.sd_over_sample_seeds == pytest.approx(8**0.5)
    assert (found.n_judge_seeds, found.n_sample_seeds) == (2, 2)


def test_one_seed_has_no_spread() -> None:
    assert spread({(None, 1): 3.0, (None, 2): 5.0}).sd_over_sample_seeds is None
    found = spread({(1, None): 3.0, (2, None): 5.0})
    assert found.sd_over_judge_seeds is None
    assert found.sd_over_sample_seeds == pytest.approx(2**0.5)
    assert spread({(1, 1): 3.0}).mean == 3


def test_a_judge_that_diverged_leaves_no_deviation() -> None:
    """`statistics` ends in an AttributeError for infinity, at the end of hours of judging."""
    found = spread({(1, 1): 3.0, (1, 2): math.inf, (2, 1): 4.0, (2, 2): 5.0})
    assert found.mean == math.inf
    assert math.isnan(found.sd_over_judge_seeds or 0) and math.isnan(found.sd_over_sample_seeds or 0)
