"""Figures as SVG for a page: nothing inline, nothing outside, colours of the page, texts over points."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lebm_text.reports.drawing import hover, new_figure, panels
from lebm_text.reports.svg import to_svg

matplotlib = pytest.importorskip("matplotlib")


def drawn(label: str = "a", texts: tuple[str, ...] = ("one", "two", "three")) -> list[str]:
    figure, axes = panels([label, "second", "nothing in it"])
    (line,) = axes[0].plot([1, 2, 3], [4, 5, 6], "o", color="C0", label=label)
    hover(line, texts)
    scatter = axes[1].scatter([1, 2, 3], [1, 10, 100], color="C1")
    hover(scatter, texts)
    axes[1].plot([1, 2], [1, 2], "k--", label=label)
    axes[1].set_yscale("log")
    axes[0].legend()
    axes[1].legend()
    return to_svg(figure, "some")


def test_each_panel_is_a_picture() -> None:
    first, second = map(ElementTree.fromstring, drawn())  # the empty panel is none
    assert [first.get("aria-label"), second.get("aria-label")] == ["a", "second"]
    assert first.attrib["viewBox"].split()[2:] == second.attrib["viewBox"].split()[2:]
    assert {each.text for each in first.iter("text")} >= {"a", "4.25"}
    assert {"second", "nothing in it"}.isdisjoint(each.text for each in first.iter("text"))


def test_points_have_their_texts() -> None:
    for svg in drawn():
        marks = [each for each in ElementTree.fromstring(svg).iter("use") if each.find("title") is not None]
        assert [mark.findtext("title") for mark in marks] == ["one", "two", "three"]
        places = [float(mark.attrib["x"]) for mark in marks]
        assert places == sorted(set(places))


def test_texts_that_are_not_one_per_point_are_left_out() -> None:
    assert "<title>" not in "".join(drawn(texts=("one", "two")))


def test_the_page_decides_the_colours() -> None:
    first, second = drawn()
    assert "var(--series-0)" in first
    assert "var(--series-1)" not in first
    assert "var(--series-1)" in second
    assert all("var(--page)" in svg and 'stroke="currentColor"' in svg for svg in (first, second))
    assert re.findall(r"#[0-9a-f]{6}\b", first + second) == []


def test_nothing_is_inline_outside_or_twice() -> None:
    svgs = [*drawn(), *drawn()]  # one figure twice has the same ids
    assert all(word not in svg for svg in svgs for word in ("style", "http", "xlink", "font-family", "metadata"))
    roots = [ElementTree.fromstring(svg) for svg in svgs[:2]]
    ids = [each.attrib["id"] for root in roots for each in root.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids)) > 3
    assert all(each.startswith("some-") for each in ids)
    referred = re.findall(r'(?:href="|url\()#([^")]+)', "".join(svgs))
    assert set(referred) == set(ids)


def test_hostile_text_stays_text() -> None:
    text = "</svg><script>alert(1)</script> \x07 \u202e \ufffe \ud800 שלום"
    svg = "".join(drawn(text, (text, text, text)))
    root = ElementTree.fromstring(f"<all>{svg}</all>")
    assert {each.tag for each in root.iter()} <= {"all", "svg", "g", "defs", "path", "use", "text", "title", "tspan",
                                                 "clipPath", "rect"}  # fmt: skip
    assert "⟨U+202E⟩" in svg


def test_a_wide_figure_has_letters_that_a_phone_can_show() -> None:
    figure = new_figure(10, 7)
    figure.subplots().plot([1, 2], [1, 2])
    (svg,) = to_svg(figure, "wide")
    width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split()[2:])
    assert 250 < width < 300
    assert 150 < height < 400
