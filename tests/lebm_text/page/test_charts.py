"""Charts: all that is drawn lies inside, spikes survive thinning, ticks are round and few, names keep apart."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lebm_text.page.charts import HEIGHT, WIDTH, Chart, Series, draw
from lebm_text.page.labels import place_labels
from lebm_text.page.scales import Scale

from .pages import HOSTILE, Page

FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)


def chart(*series: Series, **options: object) -> Chart:
    return Chart("title", "caption", "x", "y", series, **options)  # type: ignore[arg-type]


def circles(page: Page) -> list[tuple[float, float]]:
    return [(float(str(a["cx"])), float(str(a["cy"]))) for tag, a in page.tags if tag == "circle" and a.get("r") != "4"]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20),
    st.sampled_from([None, False, True]),
    st.lists(FINITE, max_size=2),
)
def test_every_point_lies_inside(points: list[tuple[float, float]], log: bool | None, levels: list[float]) -> None:
    page = Page(draw(chart(Series("s", points), logarithmic=log, levels=[("l", level) for level in levels])))
    assert len(circles(page)) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in circles(page))


def test_larger_values_stand_higher_and_further_right() -> None:
    (x0, y0), (x1, y1) = circles(Page(draw(chart(Series("", [(0, 1), (2, 5)])))))
    assert x0 < x1
    assert y0 > y1


def test_a_band_reaches_from_low_to_high() -> None:
    page = Page(draw(chart(Series("", [(0, 5), (1, 5)], band=[(0, 1, 9), (1, 2, 8)]))))
    path = next(str(a["d"]) for _, a in page.tags if a.get("class") == "band")
    heights = [float(y) for y in re.findall(r" ([\d.]+)", path)]
    middle = circles(page)[0][1]
    assert max(heights) > middle > min(heights)
    assert len(heights) == 4


def test_a_spike_among_thousands_is_drawn() -> None:
    points = [(float(i), 1.0) for i in range(20_000)]
    points[7_777] = (7_777.0, 50.0)
    page = Page(draw(chart(Series("", points))))
    line = next(str(a["d"]) for _, a in page.tags if a.get("class") == "line")
    assert min(float(y) for y in re.findall(r" ([\d.]+)", line)) < HEIGHT / 4
    assert len(page.source) < 20_000


def test_marks_alone_are_all_drawn() -> None:
    page = Page(draw(chart(Series("", [(i, i % 7) for i in range(200)], line=False))))
    assert len(circles(page)) == 200
    assert not any(a.get("class") == "line" for _, a in page.tags)


def test_text_says_what_the_picture_shows() -> None:
    page = Page(draw(chart(Series("loss", [(0, 3.5), (1, 1.25), (2, 2.0)]), Series("none", []))))
    label = next(str(a["aria-label"]) for tag, a in page.tags if a.get("role") == "img")
    assert all(part in label for part in ("title", "loss", "first 3.5", "last 2", "least 1.25", "greatest 3.5"))
    assert "none" not in page.text


def test_series_differ_by_more_than_colour() -> None:
    lines = Page(draw(chart(*(Series(str(i), [(0, i), (1, i)]) for i in range(3)))))
    marks = Page(draw(chart(*(Series(str(i), [(0, i)], line=False) for i in range(3)))))
    assert {"s0", "s1", "s2"} <= set(lines.values("class"))
    shapes = [re.sub(r"[\d. -]", "", str(a.get("d", tag))) for tag, a in marks.tags if a.get("class") == "dot"]
    assert len(set(shapes)) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_labels_cannot_leave_the_picture(text: str) -> None:
    drawn = draw(
        Chart(text, text, text, text, [Series(text, [(0, 1)], names=[text]), Series(text, [(1, 2)])], [(text, 1)])
    )
    plain = draw(Chart("t", "t", "t", "t", [Series("t", [(0, 1)], names=["t"]), Series("t", [(1, 2)])], [("t", 1)]))
    assert [tag for tag, _ in Page(drawn).tags] == [tag for tag, _ in Page(plain).tags]


@example(values=[3e-308], log=True)
@example(values=[1.0, 3e-308], log=None)
@given(values=st.lists(FINITE, min_size=1, max_size=9), log=st.sampled_from([None, False, True]))
def test_ticks_are_few_and_within(values: list[float], log: bool | None) -> None:
    scale = Scale.of(values, logarithmic=log)
    ticks = scale.ticks()
    slack = 1e-6 * (scale.high - scale.low)
    assert 1 <= len(ticks) <= 8
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)
    assert len(set(scale.labels())) == len(ticks)


def test_an_axis_is_logarithmic_where_values_span_decades() -> None:
    assert Scale.of([1, 1000], logarithmic=None).logarithmic
    assert not Scale.of([1, 10], logarithmic=None).logarithmic
    assert not Scale.of([-1, 1000], logarithmic=None).logarithmic
    scale = Scale.of([1, 100], logarithmic=True)
    assert math.isclose(scale.position(10), 0.5)
    assert {1.0, 10.0, 100.0} <= set(scale.ticks())


def test_names_of_near_points_do_not_cover_each_other() -> None:
    texts = place_labels([(100, 100, "T = 0.8"), (104, 101, "T = 0.9")], [(100, 100), (104, 101)], (0, 0, 360, 236))
    places = [(float(str(a["x"])), float(str(a["y"])), a["text-anchor"]) for text in texts for _, a in Page(text).tags]
    (_, y0, side0), (_, y1, side1) = places
    assert abs(y0 - y1) >= 13 or side0 != side1
