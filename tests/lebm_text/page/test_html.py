"""Text stays text: nothing that a string holds becomes markup, moves its neighbours, or cannot be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.page.html import Html, element, join, number, table, visible

from .pages import Page


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_any_text_comes_back_as_one_text(text: str) -> None:
    page = Page(element("p", text, title=text))
    assert [tag for tag, _ in page.tags] == ["p"]
    wanted = visible(text)
    assert page.text == wanted
    assert page.values("title") == [wanted]
    page.source.encode("utf-8")


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200f", "\x00", "\x1b", "\x85", "\ufeff", "\u2028", "\ud800"])
def test_hidden_characters_are_spelled_out(char: str) -> None:
    assert visible(f"a{char}b") == f"a⟨U+{ord(char):04X}⟩b"


@pytest.mark.parametrize(
    "text", ["naïve – “quoted”", "שלום", "👩\u200d👩\u200d👧", "می\u200cخواهم", "a\tb\nc", "e\u0301"]
)
def test_written_language_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_markup_is_kept_and_text_beside_it_escaped() -> None:
    assert join(element("b", "<i>"), "&") == Html("<b>&lt;i&gt;</b>&amp;")


def test_attributes_are_left_out_bare_or_quoted() -> None:
    found = element("details", class_="a", aria_label='x"y', open_=True, hidden=False, id=None, tabindex=0)
    assert found == '<details class="a" aria-label="x&quot;y" open tabindex="0"></details>'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (3.0, "3"),
        (8.76208, "8.762"),
        (12345.6, "12,346"),
        (-0.00012346, "−0.0001235"),
        (-5, "−5"),
        (float("nan"), "not finite"),
        (float("-inf"), "not finite"),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_names_its_rows_and_columns() -> None:
    page = Page(table("what", ["a", "b"], [("x", 1.5), ("y", None)]))
    assert [attributes.get("scope") for tag, attributes in page.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert page.text == "whatabx1.5y"
    assert [attributes.get("class") for tag, attributes in page.tags if tag == "td"] == ["number", None]
