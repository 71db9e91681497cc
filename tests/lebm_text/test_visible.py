"""Characters that are obeyed or not seen: spelled for terminals and for pages, and no others touched."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.visible import named, visible


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_any_text_can_be_shown_on_a_page(text: str) -> None:
    shown = visible(text, named)
    assert shown == visible(shown) == visible(shown, named)
    shown.encode()
    ElementTree.fromstring(f"<p>{shown.translate({ord(c): f'&#{ord(c)};' for c in '<&'})}</p>")


@pytest.mark.parametrize(
    "char", ["\u202e", "\u2066", "\u200f", "\x00", "\x1b", "\x85", "\ufeff", "\u2028", "\ud800", "\ufffe"]
)
def test_hidden_characters_are_spelled_out(char: str) -> None:
    assert visible(f"a{char}b", named) == f"a⟨U+{ord(char):04X}⟩b"
    assert eval(f"'{visible(f'a{char}b')}'") == f"a{char}b"


@pytest.mark.parametrize(
    "text", ["naïve – “quoted”", "שלום", "👩\u200d👩\u200d👧", "می\u200cخواهم", "a\tb\nc", "e\u0301"]
)
def test_written_language_is_left_alone(text: str) -> None:
    assert visible(text) == visible(text, named) == text
