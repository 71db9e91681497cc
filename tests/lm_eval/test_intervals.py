"""Quantiles of Student's t beside those of tables."""

from __future__ import annotations

import pytest

from lm_eval.intervals import NORMAL975, t975, t975_expanded


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        *((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306), (9, 2.262)),
        *((10, 2.228), (19, 2.093), (30, 2.042), (1999, 1.961)),
    ],
)
def test_quantiles_are_those_of_tables(freedom: int, quantile: float) -> None:
    assert t975(freedom) == pytest.approx(quantile, rel=2e-3)
    if freedom >= 3:
        assert t975_expanded(freedom) == pytest.approx(quantile, rel=0.04)


def test_with_many_degrees_of_freedom_it_is_the_normal() -> None:
    assert t975(10**9) == pytest.approx(NORMAL975, abs=1e-8)
