"""Texts that are a field of records, in JSON, JSON lines, CSV and TSV, and the detection of such a text by content."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from lebm_text.errors import InputError

__all__ = ["COLUMNS", "FORMATS", "choose_column", "guess_format", "likeness", "without_breaks"]

COLUMNS = ("text", "sentence")
"""Names of the column that is read where none is asked for and there are several."""

_BLANK = b" \t\r\n"
_SPACE = re.compile(r"[ \t\r\n]*")
_AT_ONCE = 1 << 16  # characters of a list held in memory
_NUMBER = re.compile(r" *[-+]?[\d.,]*\d%? *")
_BREAKS = re.compile(r"[\r\n]+")
_MOST = 0.9  # share of the inspected lines that must be alike
_FEWEST = 10  # inspected lines needed for a decision without a header
_LONGEST = 100_000  # bytes of a line that is inspected
_PUNCTUATION = frozenset((b"[", b"]", b"{", b"}", b"[{", b"}]", b"},", b"},{"))  # lines of indented JSON


def without_breaks(text: str) -> str:
    """Return a record as one line, with a blank for each line break inside it."""
    return _BREAKS.sub(" ", text.strip("\r\n"))


def choose_column(columns: Sequence[str], asked: str | None, name: str) -> str:
    """Return the string column that holds the text: `asked`, one of `COLUMNS`, or the only one.

    Raises InputError if there is no such column or the choice is ambiguous; `name` is that of the text.
    """
    listed = ", ".join(columns) or "none"
    known = (column for column in COLUMNS if column in columns)
    chosen = asked if asked is not None else columns[0] if len(columns) == 1 else next(known, None)
    if chosen is None:
        raise InputError(
            f"{name} should have a column {' or '.join(COLUMNS)} of strings, or just one of any name; "
            f"its columns of strings: {listed}; name one with --text-column"
        )
    if chosen not in columns:
        raise InputError(f"{name} has no column {asked!r} of strings; its columns of strings: {listed}")
    if columns.count(chosen) > 1:
        raise InputError(f"{name} has {columns.count(chosen)} columns {chosen!r}; give each a name of its own")
    return chosen


def _json(lines: Iterable[bytes], column: str | None, name: str, numbers: bool) -> Iterator[str]:
    """Read a list of strings or objects; one object per line is accepted too, as many such files are named `.json`."""
    lines, head = iter(lines), b""
    while not head.strip(_BLANK) and (line := next(lines, b"")):
        head += line
    if head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK).startswith(b"{"):
        return _json_lines(chain(io.BytesIO(head), lines), column, name, numbers)
    return _strings(_items(chain([head], lines), json.detect_encoding(head), name), column, name, numbers)


def _items(lines: Iterable[bytes], encoding: str, name: str) -> Iterator[Any]:
    """Yield the items of a JSON list as they are read; one item and a few lines are held in memory."""
    text, number = _Text(lines, encoding), 1
    try:
        if text.sign() != "[":
            text.value()
            raise InputError(f"{name} should hold a list of strings or of objects")
        text.at += 1
        while text.sign() != "]" or number > 1:
            yield text.value()
            number += 1
            if (after := text.sign()) == "]":
                break
            if after != ",":
                raise ValueError("a comma or the end of the list is missing")
            text.at += 1
        text.at += 1
        if text.sign():
            raise ValueError("there is more after the list")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}, record {number}: not JSON ({error})") from None


class _Text:
    """A JSON text of which one value and some lines are held in memory; reading continues at `at`."""

    def __init__(self, lines: Iterable[bytes], encoding: str) -> None:
        decoder, self._parse = codecs.getincrementaldecoder(encoding)(), json.JSONDecoder().raw_decode
        self._pieces = chain((decoder.decode(line) for line in lines), (decoder.decode(b"", True) for _ in range(1)))
        self._held, self.at = "", 0

    def sign(self) -> str:
        """Return the next character that is not blank, or "" at the end."""
        while True:
            self.at = _SPACE.match(self._held, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self._held) or not self._grow():
                return self._held[self.at : self.at + 1]

    def value(self) -> Any:
        """Return the value that begins here. Raises ValueError if it is not JSON."""
        while True:
            try:
                value, end = self._parse(self._held, self.at)
            except ValueError:
                if not self._grow():
                    raise
            else:
                if end < len(self._held) or not self._grow():  # the digits of a number may go on
                    self.at = end
                    return value

    def _grow(self) -> bool:
        """Drop what has been read and read as much again as is left; return whether there was more."""
        found, n_more = [self._held[self.at :]], 0
        while n_more < max(len(found[0]), _AT_ONCE) and (piece := next(self._pieces, None)) is not None:
            found.append(piece)
            n_more += len(piece)
        self._held, self.at = "".join(found), 0
        return n_more > 0


def _json_lines(lines: Iterable[bytes], column: str | None, name: str, numbers: bool) -> Iterator[str]:
    full = ((number, line) for number, line in enumerate(lines, 1) if line.strip(_BLANK))
    return _strings((_parse(line, f"{name}, line {number}") for number, line in full), column, name, numbers)


def _parse(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON ({error})") from None


def _strings(values: Iterable[Any], column: str | None, name: str, numbers: bool) -> Iterator[str]:
    """Yield the strings, or one field of each object; with `numbers` this may also be an integer or null."""
    chosen, kinds = None, (str, int) if numbers else str
    for number, value in enumerate(values, 1):
        text = value
        if isinstance(value, dict) and (number == 1 or chosen is not None):
            if chosen is None:
                strings = [key for key, each in value.items() if isinstance(each, kinds) or (numbers and each is None)]
                chosen = choose_column(strings, column, f"{name}, record 1")
            text = value.get(chosen)
            if numbers:
                text = "" if text is None else str(text) if isinstance(text, int) else text
        elif column is not None or chosen is not None:
            text = None
        if not isinstance(text, str):
            wanted = "a string" if column is chosen is None else f"an object with a string {chosen or column!r}"
            raise InputError(f"{name}, record {number}: should be {wanted}, got {json.dumps(value)[:60]}")
        yield text


def _separated(
    lines: Iterable[bytes], column: str | None, name: str, _numbers: bool, delimiter: str | None = None
) -> Iterator[str]:
    decoded = _decoded(lines, name)
    first = next(decoded, "")
    if delimiter is not None and delimiter not in first and not {",", ";"}.isdisjoint(first):
        raise InputError(f"{name} should have tabs between its columns, and its first row has none; call it .csv")
    delimiter = delimiter or max(",;\t", key=first.count)
    rows = csv.reader(chain([first], decoded), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = next(rows, [])
        first_row, named = next(rows, []), bool(column or {*COLUMNS} & {*header})
        columns = header if named else _worded(header, first_row)
        place = header.index(choose_column(columns, column, name)) if header else 0
        if _is_sentence(header, place) and not named:
            raise InputError(f"{name} should begin with the names of its columns, not with {header[place][:60]!r}")
        for row in chain([first_row], rows):
            if row:  # an empty line is not a record
                number += 1
                if len(row) != len(header):
                    raise InputError(f"{name}, record {number}: has {len(row)} cells, the header {len(header)}")
                yield row[place]
    except csv.Error as error:
        raise InputError(f"{name}, record {number + 1}: damaged ({error})") from None


def _is_sentence(header: Sequence[str], place: int) -> bool:
    """Return whether the first row is a record: its only cell has blanks, or others than the chosen one are numbers."""
    if len(header) == 1:
        return " " in header[0]
    numbers = [bool(_NUMBER.fullmatch(cell)) for cell in header]
    return any(numbers) and not numbers[place]


def _worded(header: Sequence[str], row: Sequence[str]) -> Sequence[str]:
    """Return the columns whose cells in the first row are not numbers; all columns if there are none."""
    worded = {name for name, cell in zip(header, row, strict=False) if not _NUMBER.fullmatch(cell)}
    return [name for name in header if name in worded] or header


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: not UTF-8 ({error.reason})") from None


FORMATS: dict[str, Callable[[Iterable[bytes], str | None, str, bool], Iterator[str]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _separated,
    ".tsv": partial(_separated, delimiter="\t"),
}
"""Ending → the text of each record: from the lines of the file, the column asked for, the name for messages, and
whether the column may hold whole numbers."""


def guess_format(first: bytes) -> str:
    """Guess the file extension of a text with columns from its first line."""
    start = first.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK)[:1]
    return {b"{": ".jsonl", b"[": ".json"}.get(start, ".csv")


def likeness(head: Sequence[bytes]) -> str | None:
    """Return the extension of the format, JSON, CSV or TSV, that the first lines look like; None for sentences.

    Anything that could also be sentences is taken for sentences.
    """
    full = [line for line in head if len(line) <= _LONGEST and line.strip(_BLANK)]
    lines = [line for line in (line.strip(_BLANK) for line in full) if line not in _PUNCTUATION]
    if not lines:
        return None
    if sum(map(_is_json, lines)) >= _MOST * len(lines):
        return ".json" if full[0].startswith(b"[") else ".jsonl"
    n_quoted = sum(len(line) > 1 and line.startswith(b'"') and line.endswith(b'"') for line in lines)
    if len(lines) >= _FEWEST and n_quoted >= _MOST * len(lines):
        return ".csv"
    decoded = [line.decode(errors="replace").strip("\r\n") for line in full]
    kinds = ((".tsv", "\t"), (".csv", ","), (".csv", ";"))
    return next((ending for ending, delimiter in kinds if _is_rows(decoded, delimiter)), None)


def _is_json(line: bytes) -> bool:
    """Return whether the line is a JSON object or list, part of one, or a string."""
    for text in (line.rstrip(b","), b"{" + line.rstrip(b",") + b"}"):
        if text[:1] in (b"{", b"[", b'"'):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                continue
            # A sentence may be [ 12 ], but hardly a list of words in quotation marks.
            return not isinstance(value, list) or any(isinstance(each, (str, dict)) for each in value)
    return False


def _is_rows(lines: Sequence[str], delimiter: str) -> bool:
    """Return whether most lines have the same number of cells, at least two, without a blank after the delimiter."""
    try:
        rows = list(csv.reader([f"{line}\n" for line in lines], delimiter=delimiter))
    except csv.Error:
        return False
    n_cells, n_rows = Counter(map(len, rows)).most_common(1)[0]
    named = len(rows) > 1 and len(rows[0]) == n_cells and not set(COLUMNS).isdisjoint(rows[0])
    if n_cells < 2 or n_rows < _MOST * len(rows) or (len(rows) < _FEWEST and not named):
        return False
    return sum(not any(cell.startswith(" ") for cell in row[1:]) for row in rows) >= _MOST * len(rows)
