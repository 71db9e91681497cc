"""HTML in which all text is escaped: a string is text unless it was built by `element`.

Model and corpus decide what stands in samples; nothing of that may become markup. Characters that would change how
their neighbours are shown (controls, direction overrides) or that no file can hold (lone surrogates) are spelled out.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Html", "Section", "details", "element", "figure_of", "join", "number", "table", "visible"]

_VOID = frozenset({"meta", "br", "hr"})
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Line structure, and the joiners that some scripts and emoji are written with.
_PLAIN = frozenset("\n\t\u200c\u200d")
_LONG = 40  # characters of a table's cell from which it may take several lines


class Html(str):
    """Markup. Any other string is text."""

    __slots__ = ()


def visible(text: str) -> str:
    """`text` with each character that cannot be seen, or that moves others, as ⟨U+202E⟩."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(char):04X}⟩" if unicodedata.category(char) in _HIDDEN and char not in _PLAIN else char
        for char in text
    )


def element(tag: str, *children: str, **attributes: object) -> Html:
    """`<tag …>children</tag>`.

    Args:
        children: `Html` as it is, other strings escaped.
        attributes: `class_` is class, other underscores are hyphens; None and False leave one out, True sets it bare.
    """
    opening = tag
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        opening += f" {name.rstrip('_').replace('_', '-')}"
        if value is not True:
            opening += f'="{_escape(str(value))}"'
    return Html(f"<{opening}>" if tag in _VOID else f"<{opening}>{join(*children)}</{tag}>")


def join(*children: str) -> Html:
    """The children one after the other, escaped where they are text."""
    return Html("".join(child if isinstance(child, Html) else _escape(child) for child in children))


def number(value: float) -> str:
    """A figure for people: four digits that count, thousands apart."""
    if not math.isfinite(value):
        return "not finite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return (f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}").replace("-", "−")


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Html:
    """A table that scrolls where it is wider than the page; the first cell of a row names the row.

    Args:
        rows: cells are text, `Html`, numbers (to the right, as by `number`), or None (empty).
    """
    rows = list(rows)
    numeric = [any(_is_number(row[column]) for row in rows) for column in range(len(headings))]
    head = element(
        "tr",
        *(
            element("th", heading, scope="col", class_="number" if right else None)
            for heading, right in zip(headings, numeric, strict=True)
        ),
    )
    body = [element("tr", *(_cell(cell, first=column == 0) for column, cell in enumerate(row))) for row in rows]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def details(summary: str, *children: str, open_: bool = False) -> Html:
    """Something that folds."""
    return element("details", element("summary", summary), *children, open_=open_)


class Section(NamedTuple):
    """A part of the page with its heading, for a reader who jumps there by `#ident`."""

    ident: str
    heading: str
    parts: Sequence[Html]

    @property
    def anchor(self) -> str:
        """`ident` as an id may be: no spaces, no signs."""
        return re.sub(r"[^\w-]+", "-", self.ident)

    def html(self) -> Html:
        """The section itself."""
        title = element("h2", self.heading, id=f"{self.anchor}-heading")
        return element("section", title, *self.parts, id=self.anchor, aria_labelledby=f"{self.anchor}-heading")


def figure_of(title: str, legend: Html, picture: Html, caption: str) -> Html:
    """A picture with heading and legend above, and one sentence about it below; always four parts, to be aligned."""
    return element("figure", element("h3", title), element("div", legend), picture, element("figcaption", caption))


def _cell(value: Any, *, first: bool) -> Html:
    text = (
        "" if value is None else number(value) if _is_number(value) else value if isinstance(value, str) else str(value)
    )
    kind = "number" if _is_number(value) and not first else "long" if len(text) > _LONG else None
    return element("th", text, scope="row", class_=kind) if first else element("td", text, class_=kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _escape(text: str) -> str:
    return html.escape(visible(text), quote=True)
