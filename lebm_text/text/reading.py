"""Sentences of a text: one a line, UTF-8, checked as they are read and never all in memory.

A line ends at LF or CRLF; a byte order mark at the start is dropped. Tokens are separated by runs of
blanks and tabs and by nothing else: no-break spaces, form feeds and their kin belong to the token, as
they do for an n-gram model, so that every part of the program counts the same tokens.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .sources import raw_lines

__all__ = ["RESERVED", "TextSummary", "normalise", "parse_lines", "read_lines", "summarise"]

RESERVED = frozenset({"<pad>", "<s>", "</s>"})
"""Tokens that mean something to the models and may not stand in a text; `<unk>` is an ordinary word."""


@dataclass(frozen=True)
class TextSummary:
    """What one pass over a text file finds."""

    sha256: str  # of the lines as bytes: for a file of plain text that of the file
    n_sentences: int  # lines that hold at least one token
    n_words: int  # tokens, no end of sentence counted
    n_empty: int  # lines without a token; they are no sentences


def normalise(line: str) -> str:
    """`line` with its tokens separated by one blank each and nothing at its ends.

    Only blanks and tabs separate; the tokens are then exactly `normalise(line).split(" ")`, and an empty
    line gives the empty string. Linear in the length of the line.
    """
    if "\t" in line:
        line = line.replace("\t", " ")
    if "  " in line:
        return " ".join(filter(None, line.split(" ")))
    return line.strip(" ")


def parse_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield every line of `stream`, normalised, empty ones included; `name` is for messages.

    Raises InputError, with the line number, for bytes that are not UTF-8, NUL bytes, carriage returns
    inside a line, and the reserved tokens `<pad>`, `<s>` and `</s>`.
    """
    for number, raw in enumerate(stream, 1):
        yield _parse_line(raw, name, number)


def read_lines(path: Path) -> Iterator[str]:
    """`parse_lines` of a place (see `sources`). Raises InputError as it does, and for one that cannot be read."""
    try:
        yield from parse_lines(raw_lines(path), str(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def summarise(path: Path) -> TextSummary:
    """Read `path` once: its hash, its counts, and InputError for anything `read_lines` refuses.

    A file without a single sentence is refused too.
    """
    digest = hashlib.sha256()
    n_sentences = n_words = n_empty = 0
    try:
        for number, raw in enumerate(raw_lines(path), 1):
            digest.update(raw)
            line = _parse_line(raw, str(path), number)
            if line:
                n_sentences += 1
                n_words += line.count(" ") + 1
            else:
                n_empty += 1
    except OSError as error:
        raise _unreadable(path, error) from error
    if not n_sentences:
        raise InputError(f"{path} holds no sentence; it needs at least one line with one word")
    return TextSummary(digest.hexdigest(), n_sentences, n_words, n_empty)


def _parse_line(raw: bytes, name: str, number: int) -> str:
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}, line {number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1}); "
            "convert the file, for example with iconv -t UTF-8"
        ) from error
    if "\0" in line:
        raise InputError(f"{name}, line {number}: holds a NUL byte; a text file must not (is it UTF-16?)")
    if "\r" in line:
        raise InputError(f"{name}, line {number}: carriage return inside the line; end lines with LF or CRLF")
    line = normalise(line)
    if "<s>" in line or "</s>" in line or "<pad>" in line:
        for token in line.split(" "):
            if token in RESERVED:
                raise InputError(
                    f"{name}, line {number}: holds the token {token}, which is reserved; "
                    "one sentence a line without markers is expected"
                )
    return line


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror or error}")
