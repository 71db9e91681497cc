"""Sentences of a text: one per line, UTF-8, checked as they are read and never all in memory.

A line ends at LF or CRLF; a byte order mark at the start is dropped. Tokens are separated only by runs of
blanks and tabs: no-break spaces and the like belong to the token, as they do for an
n-gram model, so that every part of the program counts the same tokens. Words that such a model cannot read are
refused (`refusal`).
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import cache_entry

from .sources import name_of, raw_lines, raw_records, stored_bytes

__all__ = ["RESERVED", "Split", "Text", "listed", "normalise", "parse_lines", "parse_sentence", "read_lines"]
__all__ += ["read_records", "read_split", "read_text", "split_words"]

RESERVED = frozenset({"<pad>", "<s>", "</s>", "<UNK>"})
"""Words that no text may hold: what the models mean by them, or kenlm, which has `<UNK>` for words it does not know.

`<unk>` is an ordinary word.
"""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair of UTF-16, which is no text: no file can hold it."""
_LINE_ENDS = frozenset("\r\n")
_MARKER = re.compile("|".join(map(re.escape, sorted(RESERVED))))
_BREAKS_WORDS = frozenset("\0\n\v\f\r")  # kenlm separates words at these too and would never find a word with one

KEPT_FROM = 1 << 20
"""Bytes of text: of shorter ones nothing is cached. So much takes 0.1 s to encode by words, 0.6 s by pieces."""

_VERSION = 2  # of the rules by which cache entries are made
_BLOCK = 256  # lines that are checked at a time, and that a slow pipe has to wait for
_BOMS_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CLOSER_LOOK = ("\ufffd", "\0", "\v", "\f", "\r", "\t", "  ", *RESERVED)  # the first replaces invalid UTF-8


@dataclass(frozen=True)
class Split:
    """A text in one place (see `sources`) and the results of one pass over it.

    Attributes:
        sha256: of the lines as bytes; for a plain text, that of the file.
        n_sentences: lines with at least one token.
        n_words: tokens, without ends of sentences.
        n_empty: lines without a token; they are not sentences.
        notices: content that is accepted but hardly intended, one line each.
    """

    path: Path
    sha256: str
    n_sentences: int
    n_words: int
    n_empty: int = 0
    notices: tuple[str, ...] = ()

    def sentences(self) -> Iterator[str]:
        """Yield the sentences in order, normalised; read lazily from the disk, empty lines left out."""
        return filter(None, read_lines(self.path))

    def lowered(self) -> Iterator[str]:
        """`sentences` in lower case. Raises InputError where that gives a word with a `refusal`, such as `<S>`."""
        for sentence in self.sentences():
            lower = sentence.lower()
            if readable(lower) != lower:
                word = next(word for word in split_words(sentence) if refusal(word.lower()))
                raise InputError(f"{self.path} holds {word!r}, in lower case {refusal(word.lower())}; remove it")
            yield lower

    def cache_entry(self, kind: str, *depends_on: object) -> Path | None:
        """Return the cache path for values computed only from this text and `depends_on` (JSON).

        None for a text of less than `KEPT_FROM` bytes, for which nothing is cached.
        """
        try:
            short = stored_bytes(self.path) < KEPT_FROM
        except OSError:
            return None  # the error is reported on reading
        return None if short else cache_entry(kind, _VERSION, __version__, self.sha256, *depends_on)

    def require_unchanged(self) -> None:
        """Raise InputError if the text no longer has the hash that identifies its cache entries."""
        digest = hashlib.sha256()
        for line in raw_lines(self.path):
            digest.update(line)
        if digest.hexdigest() != self.sha256:
            raise InputError(f"{self.path} was changed while it was read; run the command again")


def normalise(line: str) -> str:
    """Return `line` with one blank between tokens and none at the ends.

    An empty line gives the empty string. Linear in the length of the line.
    """
    if "\t" in line:
        line = line.replace("\t", " ")
    if "  " in line:
        return " ".join(filter(None, line.split(" ")))
    return line.strip(" ")


def split_words(sentence: str) -> list[str]:
    """Return the words of a sentence, separated only by blanks and tabs; the one definition for all counts."""
    line = normalise(sentence)
    return line.split(" ") if line else []


def refusal(word: str) -> str | None:
    """Return why no text may contain `word`, or None: words that no judge can read are neither learned nor written."""
    if word in RESERVED:
        return "a reserved word"
    return None if _BREAKS_WORDS.isdisjoint(word) else "a word with a control character"


def readable(sentence: str) -> str:
    """Return a normalised `sentence` with `<unk>` for each word that no text may contain."""
    if "<" not in sentence and sentence.isprintable():  # nearly all sentences: no word needs a check
        return sentence
    return " ".join("<unk>" if refusal(word) else word for word in sentence.split(" "))


def listed(given: object, what: str = "sentences", *, raw: bool = False) -> Iterator[str]:
    """Yield the members of a list of strings; `what` is their name in messages.

    Args:
        given: the list, or what else gives strings one by one.
        what: name of the members, for messages.
        raw: they are text that has yet to be parsed, so that line ends and words with a `refusal` pass.

    Raises:
        InputError: `given` is a single string, a mapping, a set, a table or not iterable; a member is not a string,
            contains a surrogate, which no file of text can hold, a line end, or a word with a `refusal`.
    """
    if isinstance(given, (str, bytes)):
        raise InputError(f"expected a list of {what}, got one string: {reprlib.repr(given)}")
    # A set has no order, which noise and resampling depend on, and no repetitions, which are counted.
    other = isinstance(given, (Mapping, set, frozenset)) or getattr(given, "ndim", 1) != 1
    if other or not isinstance(given, Iterable):
        raise InputError(f"expected a list of {what}, got {type(given).__name__}")
    for number, each in enumerate(given, 1):
        if not isinstance(each, str):
            raise InputError(f"expected a list of {what}, which are strings; number {number} is {each!r:.60}")
        if not each.isascii() and _SURROGATE.search(each):
            raise InputError(f"number {number} of the {what} contains half of a surrogate pair, which is not text")
        if not raw and (not each.isprintable() or ("<" in each and _MARKER.search(each))):  # few sentences
            _refuse(each, number)
        yield each


def _refuse(sentence: str, line: int) -> None:
    """Raise InputError for a sentence with a line end, or with a word that has a `refusal`."""
    if not _LINE_ENDS.isdisjoint(sentence):
        raise InputError(f"line {line} contains a line end, {reprlib.repr(sentence)}; give lines without their ends")
    for word in split_words(sentence):
        if problem := refusal(word):
            raise InputError(f"line {line} contains {problem}, {word!r}; remove it from the text")


def parse_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield every line of `stream`, normalised, empty ones included; `name` is for messages.

    Raises InputError, with the line number, for bytes that are not UTF-8, NUL bytes, carriage returns
    inside a line, and words with a `refusal`.
    """
    for _, lines in _parsed_blocks(stream, name):
        yield from lines


def parse_sentence(text: str, name: str) -> str:
    """Return a typed sentence, checked and normalised like a line of a text; `name` is for messages.

    Raises InputError as `parse_lines` does, and for several lines.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")  # as bytes that are not UTF-8 come from a command line
    except UnicodeEncodeError:
        raise InputError(f"{name} is not text: it holds half of a character") from None
    lines = list(parse_lines(io.BytesIO(data), name))
    if len(lines) > 1:
        raise InputError(f"{name} has {len(lines)} lines; a sentence is one line")
    return "".join(lines)


def read_lines(path: Path) -> Iterator[str]:
    """`parse_lines` of a corpus's text (see `sources`). Raises InputError as it does, and if it cannot be read."""
    return parse_lines(raw_lines(path), name_of(path))


def read_records(path: Path, column: str | None = None) -> Iterator[str]:
    """`parse_lines` of a text of any format that `raw_records` knows, as they come. Raises InputError as both do."""
    return parse_lines(raw_records(path, column), name_of(path))


@dataclass(frozen=True)
class Text:
    """A text in memory.

    Attributes:
        name: for messages.
        lines: normalised, empty ones included.
        sha256: of the lines as bytes, from the same pass; for a plain text, that of the file.
    """

    name: str
    lines: list[str]
    sha256: str


def read_text(path: Path, column: str | None = None) -> Text:
    """Read a whole text of any format of `raw_records`. Raises InputError as `read_records` does, or if empty."""
    digest = hashlib.sha256()
    lines: list[str] = []
    for block, parsed in _parsed_blocks(raw_records(path, column), name_of(path)):
        digest.update(block)
        lines += parsed
    if lines:
        return Text(name_of(path), lines, digest.hexdigest())
    raise InputError(f"{name_of(path)} is empty; a text has one sentence a line")


def read_split(path: Path) -> Split:
    """Read `path` once and return its hash and counts. Raises InputError for anything `read_lines` refuses.

    A text without any sentence is refused too.
    """
    digest = hashlib.sha256()
    n_sentences = n_words = n_empty = n_marks = n_oov = 0
    for block, lines in _parsed_blocks(raw_lines(path), str(path)):
        digest.update(block)
        found = list(lines)
        sentences = list(filter(None, found))
        n_sentences += len(sentences)
        n_words += len(sentences) + sum(line.count(" ") for line in sentences)
        n_empty += len(found) - len(sentences)
        n_marks += block.count(codecs.BOM_UTF8) and sum(line.count("\ufeff") for line in sentences)
        n_oov += block.count(b"<oov>") and sum(split_words(line).count("<oov>") for line in sentences)
    if not n_sentences:
        raise InputError(f"{path} holds no sentence; it needs at least one line with one word")
    marks = f"{path} holds {n_marks:,} byte order marks inside the text, as joined files do; they are part of words"
    oov = f"{path} holds the word <oov> {n_oov:,} times, which judges read as <unk>; better write <unk>"
    notices = (*([marks] if n_marks else []), *([oov] if n_oov else []))
    return Split(path, digest.hexdigest(), n_sentences, n_words, n_empty, notices)


def _parsed_blocks(stream: Iterable[bytes], name: str) -> Iterator[tuple[bytes, Iterable[str]]]:
    """Yield blocks of whole lines and the normalised lines in them; bad lines raise when they are read."""
    lines, number, full = iter(stream), 1, True
    while full and (raw := list(islice(lines, _BLOCK))):
        full = len(raw) == _BLOCK  # a shorter block is the last: a terminal must not be read again after its end
        block = b"".join(raw)
        text = (block.removeprefix(codecs.BOM_UTF8) if number == 1 else block).decode(errors="replace")
        if any(sign in text for sign in _CLOSER_LOOK):
            yield block, (_parse_line(line, name, n) for n, line in enumerate(raw, number))
        else:
            yield block, [line.strip(" ") for line in text.removesuffix("\n").split("\n")]
        number += len(raw)


def _parse_line(raw: bytes, name: str, number: int) -> str:
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}, line {number}: not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1}); "
            f"convert the file, for example with iconv -f {'UTF-16' if raw[:2] in _BOMS_16 else 'LATIN1'} -t UTF-8"
        ) from error
    if "\0" in line:
        raise InputError(f"{name}, line {number}: holds a NUL byte; a text file must not (is it UTF-16?)")
    if "\r" in line:
        raise InputError(f"{name}, line {number}: carriage return inside the line; end lines with LF or CRLF")
    line = normalise(line)
    if RESERVED.isdisjoint(words := split_words(line)) and _BREAKS_WORDS.isdisjoint(line):
        return line
    word = next(filter(refusal, words))
    cure = "replace it by a blank"
    if word in RESERVED:
        cure = "write <unk>" if word == "<UNK>" else "one sentence a line without markers is expected"
    raise InputError(f"{name}, line {number}: holds {refusal(word)}, {word!r}; {cure}")
