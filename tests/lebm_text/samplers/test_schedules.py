"""Schedules: ends, middle, and constant outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.samplers.schedules import geometric, linear

values = st.floats(0.01, 100)


def test_middle() -> None:
    assert linear(1.0, 4.0, 0.5) == pytest.approx(2.5)
    assert geometric(1.0, 4.0, 0.5) == pytest.approx(2.0)
    assert geometric(10.0, 0.1, 0.25) == pytest.approx(10**0.5)


@given(start=values, end=values)
def test_ends_and_outside(start: float, end: float) -> None:
    for schedule in (linear, geometric):
        assert schedule(start, end, -1.0) == schedule(start, end, 0.0) == start
        assert schedule(start, end, 7.0) == schedule(start, end, 1.0) == pytest.approx(end)


@given(start=values, end=values, progress=st.floats(0, 0.99))
def test_every_step_goes_towards_the_end(start: float, end: float, progress: float) -> None:
    for schedule in (linear, geometric):
        now, later = schedule(start, end, progress), schedule(start, end, progress + 0.01)
        assert (later - now) * (end - start) >= -1e-12
