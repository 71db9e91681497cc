"""Tables as plain text, converted from the rich tables of reports, for the page of a run and for Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table

__all__ = ["Cell", "Grid", "markdown_table", "number", "parts", "splits"]

_LONG = 40  # characters; a longer cell may be wrapped


class Cell(NamedTuple):
    """A cell of a table; `kind` is its CSS class: number, long, or empty."""

    text: str
    kind: str = ""


class Grid(NamedTuple):
    """A table of plain text."""

    caption: str
    headings: list[Cell]
    rows: list[list[Cell]]


def parts(group: Group) -> Iterator[Grid | str]:
    """Yield the tables and the lines of text of a report."""
    for part in group.renderables:
        if isinstance(part, Group):
            yield from parts(part)
        elif isinstance(part, Table):
            kinds = ["number" if column.justify == "right" else "" for column in part.columns]
            headings = [_cell(column.header, kind) for column, kind in zip(part.columns, kinds, strict=True)]
            rows = zip(*(column.cells for column in part.columns), strict=True)
            yield Grid(_plain(part.title or ""), headings, [[*map(_cell, row, kinds)] for row in rows])
        else:
            yield _plain(part)


def _cell(content: object, kind: str) -> Cell:
    text = _plain(content)
    return Cell(text, "long" if len(text) > _LONG else kind)


def _plain(content: object) -> str:
    """Return the plain text of a string or of rich's Text."""
    return str(getattr(content, "plain", content))


def splits(corpus: Mapping[str, Any]) -> Grid:
    """Return a table of the splits of a run's corpus, without their paths."""
    headings = ["split", "sentences", "words", "sha256"]
    rows = []
    for name, split in _mapping(corpus.get("splits")).items():
        values = [_mapping(split).get(key, "") for key in ("n_sentences", "n_words", "sha256")]
        cells = [Cell(number(each), "number") if isinstance(each, int) else Cell(str(each)) for each in values]
        rows.append([Cell(name), *cells])
    return Grid(f"Text: {corpus.get('name', 'unnamed')}", [Cell(heading) for heading in headings], rows)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def number(value: float) -> str:
    """Format a number with four significant digits and thousands separators; nan and infinity are a dash."""
    if not abs(value) <= sys.float_info.max:
        return "–"
    whole = value == int(value) or abs(value) >= 999.95  # which four digits round to 1,000
    return (f"{value:,.0f}" if whole else f"{value:.4g}").replace("-", "−")


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; only the character | is escaped in cells."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
