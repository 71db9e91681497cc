"""Charts as inline SVG, drawn for a width of 360 units: on a phone as on a desktop, where several stand in a row.

Colours come from the page's style (`s0` … `s5`). Lines differ by their dashes and marks by their shapes, too, for those
who see colours otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .html import Html, element, figure_of, number
from .labels import place_labels
from .scales import Scale

__all__ = ["Chart", "Series", "draw"]

WIDTH, HEIGHT = 360, 236
_TOP, _RIGHT, _BOTTOM = 10, 12, 42
_LETTER = 7.0  # width of a character of a tick label
_MOST_POINTS, _MOST_TITLES = 240, 40  # of a series: drawn, and with a text that hovering shows
_MARKED = 25  # up to so many points of a line have a visible mark
_CROWD = 60  # more points than this have smaller ones


@dataclass(frozen=True)
class Series:
    """A line, or marks alone.

    Attributes:
        points: (x, y), finite.
        names: beside the points, as many as these.
        band: (x, low, high) around the line.
    """

    label: str
    points: Sequence[tuple[float, float]]
    names: Sequence[str] = ()
    band: Sequence[tuple[float, float, float]] = ()
    line: bool = True


@dataclass(frozen=True)
class Chart:
    """What is drawn. Axes are logarithmic where their values span decades.

    Attributes:
        caption: a sentence that says what to look for.
        levels: (label, y) of horizontal lines to compare with.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    levels: Sequence[tuple[str, float]] = ()
    logarithmic: bool | None = None
    log_x: bool = False


@dataclass(frozen=True)
class _Frame:
    x: Scale
    y: Scale
    left: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (
            round(self.left + self.x.position(x) * (WIDTH - self.left - _RIGHT), 1),
            round(_TOP + (1 - self.y.position(y)) * (HEIGHT - _TOP - _BOTTOM), 1),
        )


def draw(chart: Chart) -> Html:
    """The figure: title, legend, picture, caption. Series without points are left out; there must be one with some."""
    shown = [series for series in chart.series if series.points]
    frame = _frame(chart, shown)
    parts = [*_axes(frame, chart)]
    for index, series in enumerate(shown):
        parts.append(element("g", *_series(frame, series, index), class_=f"s{index % 6}"))
    parts += _levels(frame, chart)  # over the lines, so that they can be read
    parts += place_labels(
        [
            (*frame.at(*point), name)
            for series in shown
            for point, name in zip(series.points, series.names, strict=False)
        ],
        [frame.at(*point) for series in shown for point in series.points],
        (frame.left, _TOP, WIDTH, HEIGHT - _BOTTOM),
    )
    described = ". ".join([f"{chart.title}: {chart.y_label} by {chart.x_label}", *map(_describe, shown)])
    svg = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=described)
    return figure_of(chart.title, _legend(shown), svg, chart.caption)


def _frame(chart: Chart, shown: Sequence[Series]) -> _Frame:
    points = [point for series in shown for point in series.points]
    edges = [edge for series in shown for _, low, high in series.band for edge in (low, high)]
    y = Scale.of(
        [*(y for _, y in points), *edges, *(level for _, level in chart.levels)], logarithmic=chart.logarithmic
    )
    # Room for names beside points at the edges.
    margin = 0.12 if any(series.names for series in shown) else 0.02
    if margin > 0.1:
        y = Scale.of(
            [y for _, y in points] + [level for _, level in chart.levels], logarithmic=y.logarithmic, margin=0.1
        )
    x = Scale.of([x for x, _ in points], logarithmic=chart.log_x, margin=margin)
    return _Frame(x, y, 26 + _LETTER * max(map(len, y.labels()), default=0))


def _axes(frame: _Frame, chart: Chart) -> Iterator[Html]:
    bottom = HEIGHT - _BOTTOM
    for tick, label in zip(frame.y.ticks(), frame.y.labels(), strict=True):
        y = frame.at(frame.x.low, tick)[1]
        yield element("path", d=f"M{frame.left} {y}H{WIDTH - _RIGHT}", class_="grid")
        yield element("text", label, x=frame.left - 5, y=y + 4, text_anchor="end")
    for tick, label in zip(frame.x.ticks(), frame.x.labels(), strict=True):
        x = frame.at(tick, frame.y.low)[0]
        yield element("path", d=f"M{x} {bottom}v4", class_="axis")
        yield element("text", label, x=x, y=bottom + 17, text_anchor="middle")
    yield element("path", d=f"M{frame.left} {_TOP}V{bottom}H{WIDTH - _RIGHT}", class_="axis")
    middle = (_TOP + bottom) / 2
    yield element("text", chart.x_label, x=(frame.left + WIDTH - _RIGHT) / 2, y=HEIGHT - 7, text_anchor="middle")
    turned = f"translate(12 {middle:g}) rotate(-90)"
    yield element("text", chart.y_label, transform=turned, text_anchor="middle")


def _levels(frame: _Frame, chart: Chart) -> Iterator[Html]:
    for label, level in chart.levels:
        y = frame.at(frame.x.low, level)[1]
        yield element("path", d=f"M{frame.left} {y}H{WIDTH - _RIGHT}", class_="level")
        yield element("text", label, x=WIDTH - _RIGHT - 3, y=y - 4, text_anchor="end", class_="note")


def _series(frame: _Frame, series: Series, index: int) -> Iterator[Html]:
    if series.band:
        upper = [frame.at(x, high) for x, _, high in series.band]
        lower = [frame.at(x, low) for x, low, _ in reversed(series.band)]
        yield element("path", d=f"M{_joined([*upper, *lower])}Z", class_="band")
    points = _thinned(series.points)
    if series.line and len(points) > 1:
        yield element("path", d=f"M{_joined([frame.at(*point) for point in points])}", class_="line")
    kind = "dot" if len(series.points) <= _MARKED or not series.line else "dot faint"
    size = 3.5 if len(series.points) <= _CROWD else 2.5
    names = dict(zip(series.points, series.names, strict=False))
    stride = math.ceil(len(series.points) / (_MOST_TITLES if series.line else _MOST_POINTS))
    for point in [*series.points[:-1:stride], series.points[-1]]:
        x, y = frame.at(*point)
        said = " ".join(filter(None, (names.get(point, series.label), f"({number(point[0])}, {number(point[1])})")))
        yield _mark(index, x, y, size, element("title", said), class_=kind)


def _mark(index: int, x: float, y: float, size: float, *children: Html, class_: str) -> Html:
    """A circle, a square or a diamond, by the number of the series."""
    if index % 3 == 0:
        return element("circle", *children, cx=f"{x:g}", cy=f"{y:g}", r=size, class_=class_)
    if index % 3 == 1:
        side = 1.8 * size
        outline = f"M{x - side / 2:g} {y - side / 2:g}h{side:g}v{side:g}h{-side:g}z"
    else:
        half = 1.25 * size
        outline = f"M{x - half:g} {y:g}l{half:g} {half:g}l{half:g} {-half:g}l{-half:g} {-half:g}z"
    return element("path", *children, d=outline, class_=class_)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS`, in order; of each stretch the least and the greatest, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    width = math.ceil(2 * len(points) / _MOST_POINTS)
    kept = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:g} {y:g}" for x, y in points)


def _legend(shown: Sequence[Series]) -> Html:
    if len(shown) == 1 and not shown[0].label:
        return Html("")
    entries = []
    for index, series in enumerate(shown):
        mark = element("path", d="M1 6H27", class_="line") if series.line else _mark(index, 14, 6, 4, class_="dot")
        key = element("svg", mark, viewBox="0 0 28 12", aria_hidden="true", class_=f"key s{index % 6}")
        entries.append(element("li", key, series.label))
    return element("ul", *entries, class_="legend")


def _describe(series: Series) -> str:
    values = [y for _, y in series.points]
    of = f"{series.label}: " if series.label else ""
    if series.names:
        return of + ", ".join(
            f"{name} {number(x)} {number(y)}" for name, (x, y) in zip(series.names, series.points, strict=False)
        )
    if len(values) == 1:
        return f"{of}{number(values[0])}"
    ends = f"first {number(values[0])}, last {number(values[-1])}"
    return f"{of}{ends}, least {number(min(values))}, greatest {number(max(values))}"
