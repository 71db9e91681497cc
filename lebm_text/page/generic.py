"""Reports whose kind the page does not know: their figures as tables, whatever their shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .html import Html, Section, details, element, number, table
from .run_files import is_figure

__all__ = ["generic_report"]

_MOST_ROWS = 60
_MOST_COLUMNS = 12
_MOST_TABLES = 12
_DEEPEST = 6
_LONGEST = 300  # characters of a text
# Shown elsewhere on the page.
_ELSEWHERE = frozenset({"metric", "signature", "sha256", "versions"})


def generic_report(name: str, report: Mapping[str, Any]) -> Section:
    """A section with the report's values: lists of objects as tables of their own, long lists as their spread."""
    values: list[tuple[str, Any]] = []
    tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = []
    for path, value in _leaves("", report):
        if _is_records(value):
            tables.append((path, value))
        else:
            values.append((path, _shown(value)))
    parts = []
    if values:
        shown = values[:_MOST_ROWS]
        parts.append(table(f"Values of {name}", ["value", name], shown))
        if values[_MOST_ROWS:]:
            parts.append(element("p", f"{len(values) - _MOST_ROWS:,} more values are in the file."))
    for path, records in tables[:_MOST_TABLES]:
        parts.append(details(f"{path}: {len(records):,} rows", _table(path, records)))
    if tables[_MOST_TABLES:]:
        parts.append(element("p", f"{len(tables) - _MOST_TABLES:,} more tables are in the file."))
    return Section(f"report-{name}", name, parts)


def _leaves(path: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and depth < _DEEPEST and not _is_estimate(value):
        for key, item in value.items():
            if depth or key not in _ELSEWHERE:
                yield from _leaves(f"{path}.{key}" if path else str(key), item, depth + 1)
    else:
        yield path, value


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _table(path: str, records: Sequence[Mapping[str, Any]]) -> Html:
    flat = [dict(_leaves("", record, 1)) for record in records[:_MOST_ROWS]]
    columns = list(dict.fromkeys(key for record in flat for key in record))[:_MOST_COLUMNS]
    rows = [tuple(_shown(record.get(column)) for column in columns) for record in flat]
    left = len(records) - len(rows)
    return table(path + (f" (first {len(rows)})" if left else ""), columns, rows)


def _shown(value: Any) -> Any:
    """A cell: numbers and texts as they are, lists of numbers by their spread, else how much there is."""
    if value is None or is_figure(value):
        return value
    if isinstance(value, list) and value and all(map(is_figure, value)):
        if len(value) <= 8:
            return ", ".join(map(number, value))
        middle = sorted(value)[len(value) // 2]
        return f"{len(value):,} numbers, {number(min(value))} to {number(max(value))}, median {number(middle)}"
    if isinstance(value, list):
        texts = [item for item in value[:3] if isinstance(item, str)]
        if not texts:
            return f"{len(value):,} entries" if value else "none"
        return _cut(" / ".join(texts)) + (f" … ({len(value):,} entries)" if len(value) > len(texts) else "")
    if _is_estimate(value):
        return f"{number(value['value'])} ± {number(value['standard_error'])}"
    return f"{len(value):,} entries" if isinstance(value, Mapping) else _cut(str(value))


def _is_estimate(value: Any) -> bool:
    """A value with its standard error, which belong in one cell."""
    return (
        isinstance(value, Mapping) and set(value) == {"value", "standard_error"} and all(map(is_figure, value.values()))
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
