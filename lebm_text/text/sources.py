"""The one way in for text: whatever a path leads to is opened here, once, and read line by line.

A path may lead to a file, a link, a pipe (`<(…)` as well) or `STDIN`; what is packed with gzip is unpacked whatever it
is called. In a corpus's directory lie

| | read as |
|---|---|
| `train.txt` | lines |
| `train.txt.gz` | the same, unpacked on the way |
| `train.parquet` | the rows of a column, `text`, `sentence` or the only one with strings |
| `train/*.arrow`, `train/*.parquet` | the same, file by file; `datasets` writes such with `save_to_disk` |

`validation` may stand for `valid`. There a row of several lines is several sentences. A text that is named by itself
may also be JSON, CSV or TSV (see `records`), and each of its records is one sentence, whose line breaks are blanks.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from lebm_text.errors import InputError

from .records import FORMATS, guess_format, likeness, without_breaks
from .tables import ENDINGS, MAGIC, table_rows

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["STDIN", "as_file", "ending_of", "label_path", "name_of", "open_source", "raw_lines", "raw_records"]
__all__ += ["split_path", "stored_bytes"]

STDIN = Path("/dev/stdin")
"""Standard input, on systems without that name as well; a path `-` is a file of that name."""

_NAMES = {"valid": ("valid", "validation")}
_GZIP = b"\x1f\x8b"
_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh91AY": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", _GZIP: "gzip"}
_HEAD = 8  # bytes by which formats are told apart
_LOOKED_AT = 100  # lines that are looked at for what is no plain text
_BLOCK = 1 << 16  # bytes read at a time
_LONGEST_LINE = 1 << 28  # bytes; without a bound, a device that never ends would fill the memory


def name_of(path: Path) -> str:
    """What messages call a text."""
    return "standard input" if path == STDIN else str(path)


def split_path(directory: Path, split: str) -> Path | None:
    """Where the split's text lies in `directory`; None if nowhere."""
    for name in _NAMES.get(split, (split,)):
        for suffix in (".txt", ".txt.gz", ".parquet"):
            if (path := directory / f"{name}{suffix}").is_file():
                return path
        if _tables(directory / name):
            return directory / name
    return None


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of a corpus's text, line ends included, as they would stand in a file of plain text.

    Raises:
        InputError: it cannot be read, is damaged, is a table without a column of text, or looks like JSON or CSV.
    """
    try:
        places = _tables(path) or [path]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    for each in places:
        name = name_of(each)
        with open_source(each) as stream:
            if (ending := _table_ending(each, stream)) is None:
                yield from _plain_lines(stream, name, "write the text alone into it")
                continue
            for text in table_rows(_seekable(stream), ending, None, name):
                yield from (line.encode() + b"\n" for line in (text or "").split("\n"))


def label_path(text: Path, directory: Path | None = None) -> Path:
    """Where the labels of a text lie, beside it or in `directory`: of `train.txt.gz`, too, in `train.label`.

    Those of a `validation.…` may also lie in `valid.label`.
    """
    directory, stem = directory or text.parent, Path(text.name.removesuffix(".gz")).stem
    short = directory / "valid.label"
    return short if stem == "validation" and short.is_file() else directory / f"{stem}.label"


def raw_records(
    path: Path, column: str | None = None, *, numbers: bool = False, on_read: Callable[[int], None] | None = None
) -> Iterator[bytes]:
    """The lines of a text that is named by itself, and of one with records a line for each; line ends included.

    What the format is, the ending says: .json, .jsonl, .csv, .tsv, .parquet, .arrow, each of them also with .gz. Of
    what has another ending or none, and a `column`, the first line says it.

    Args:
        column: that holds the text; None: `text`, `sentence`, or the only one with strings.
        numbers: whether a column may also hold whole numbers, as labels do, or nothing in some rows.
        on_read: told of each piece of the file how many bytes it has.

    Raises:
        InputError: it cannot be read or is damaged, has no such column, or looks like JSON or CSV and is not called so.
    """
    name = name_of(path)
    with open_source(path, on_read) as stream:
        suffix = ending_of(path)
        if (ending := _table_ending(path, stream)) is not None:
            rows = table_rows(_seekable(stream), ending, column, name, numbers=numbers)
        elif suffix in FORMATS:
            rows = FORMATS[suffix](_lines(stream, name), column, name, numbers)
        elif column is not None:
            lines = _lines(stream, name)
            first = next(lines, b"")
            rows = FORMATS[guess_format(first)](chain([first], lines), column, name, numbers)
        else:
            yield from _plain_lines(stream, name, "give it that ending, or name the text column")
            return
        for number, text in enumerate(rows, 1):
            try:
                yield without_breaks(text or "").encode() + b"\n"
            except UnicodeEncodeError:
                raise InputError(f"{name}, record {number}: holds half of a surrogate pair") from None


@contextmanager
def open_source(path: Path, on_read: Callable[[int], None] | None = None) -> Iterator[io.BufferedReader]:
    """The bytes that `path` leads to, from the first one, unpacked if they are packed with gzip.

    Raises:
        InputError: they cannot be read, are damaged, or are packed in another way; also out of the block.
    """
    try:
        with ExitStack() as stack:
            yield _unpacked(_opened(path, stack, on_read), name_of(path))
    except OSError as error:
        raise InputError(f"cannot read {name_of(path)}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot read {name_of(path)}: damaged ({error})") from error


@contextmanager
def as_file(path: Path) -> Iterator[tuple[Path, str]]:
    """A regular file with what `path` leads to, for programs that open files themselves, and its sha256.

    It is the file itself, or, of a pipe and of what is packed, a copy for the length of the block. Raises InputError
    as `open_source` does.
    """
    digest = hashlib.sha256()
    with ExitStack() as stack:
        with open_source(path) as stream:
            found, copy = path, None
            if not stream.seekable() or path == STDIN:
                found = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lebm-text-")), "copy")
                copy = stack.enter_context(found.open("wb"))
            while piece := stream.read(1 << 20):
                digest.update(piece)
                if copy is not None:
                    copy.write(piece)
        if copy is not None:
            copy.close()
        yield found, digest.hexdigest()


def stored_bytes(path: Path) -> int:
    """Bytes on the disk; raises OSError."""
    return sum(file.stat().st_size for file in _tables(path) or [path])


def _tables(path: Path) -> list[Path]:
    """The tables in a directory in order; none if it is something else."""
    if not path.is_dir():
        return []
    # Beside what was saved `datasets` keeps cache-….arrow: what its `map` and `filter` once made of the same rows.
    files = (file for file in sorted(path.iterdir()) if not file.name.startswith("cache-"))
    return [file for file in files if file.suffix in ENDINGS and file.is_file()]


class _Watched(io.FileIO):
    """A file that tells of each piece how many bytes it has."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_read = on_read

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        n = super().readinto(buffer)
        self._on_read(n or 0)
        return n


def _opened(path: Path, stack: ExitStack, on_read: Callable[[int], None] | None) -> io.BufferedIOBase:
    if path != STDIN:
        if on_read is not None:
            return stack.enter_context(io.BufferedReader(_Watched(path, on_read)))
        return stack.enter_context(path.open("rb"))
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return cast(io.BufferedIOBase, sys.stdin.buffer)


def _unpacked(file: io.BufferedIOBase, name: str, n_times: int = 0) -> io.BufferedReader:
    """A stream from where `file` stands, which may be a pipe."""
    head = file.read(_HEAD)
    if isinstance(file, io.BufferedReader) and file.seekable() and not n_times:
        file.seek(-len(head), io.SEEK_CUR)
        stream = file
    else:
        stream = io.BufferedReader(_Rejoined(head, file, name))
    program = next((program for magic, program in _PACKED.items() if head.startswith(magic)), None)
    if program is None:
        return stream
    if program == "gzip" and not n_times:
        return _unpacked(gzip.GzipFile(fileobj=stream), name, n_times + 1)
    raise InputError(f"cannot read {name}: it is packed with {program}{' twice' * n_times}; unpack it first")


class _Rejoined(io.RawIOBase):
    """What was read of a stream that cannot go back, and the rest of it, in lines of bounded length.

    Its end is its end: a terminal is not asked again.
    """

    def __init__(self, head: bytes | None, rest: io.BufferedIOBase, name: str) -> None:
        self._head, self._rest, self._name = head or b"", rest, name
        self._since_break, self._ended = 0, head is not None and len(head) < _HEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer)
        piece = self._head[: len(room)] or (b"" if self._ended else self._rest.read1(len(room)))
        self._head = self._head[len(piece) :]
        self._ended = not piece
        last = piece.rfind(b"\n")
        self._since_break = len(piece) - last - 1 if last >= 0 else self._since_break + len(piece)
        if self._since_break > _LONGEST_LINE:
            raise InputError(f"{self._name} has a line of over {_LONGEST_LINE:,} bytes; a line is one sentence")
        room[: len(piece)] = piece
        return len(piece)


def ending_of(path: Path) -> str:
    """By which the format of a text is known: `.csv` of `a.csv.gz`."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _table_ending(path: Path, stream: io.BufferedReader) -> str | None:
    """That of the table which the stream holds, by its first bytes or by the name; None if it is none."""
    head = stream.peek(_HEAD)
    found = next((ending for magic, ending in MAGIC.items() if head.startswith(magic)), ending_of(path))
    return found if found in ENDINGS else None


def _seekable(stream: BinaryIO) -> BinaryIO:
    return stream if stream.seekable() else io.BytesIO(stream.read())


def _lines(stream: io.BufferedReader, name: str) -> Iterator[bytes]:
    return iter(io.BufferedReader(_Rejoined(None, stream, name), _BLOCK))


def _plain_lines(stream: io.BufferedReader, name: str, cure: str) -> Iterator[bytes]:
    lines = _lines(stream, name)
    head = list(islice(lines, _LOOKED_AT))
    if (ending := likeness(head)) is not None:
        raise InputError(f"{name} looks like {ending}, not like one sentence a line; {cure}")
    return chain(head, lines)
