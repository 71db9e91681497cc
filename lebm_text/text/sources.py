"""The only entry point for text: the target of a path is opened here, once, and read line by line.

A path may be a file, a link, a pipe (`<(…)` as well) or `STDIN`; gzip data is decompressed whatever its name.
A corpus's directory contains

| | read as |
|---|---|
| `train.txt` | lines |
| `train.txt.gz` | the same, decompressed on the fly |
| `train.parquet` | the rows of a column, `text`, `sentence` or the only one with strings |
| `train/*.arrow`, `train/*.parquet` | the same, file by file, as `datasets` writes with `save_to_disk` |

`validation` may stand for `valid`. There, a row of several lines is several sentences. A text that is named by itself
may also be JSON, CSV or TSV (see `records`); each of its records is one sentence, with blanks for line breaks.
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

__all__ = ["STDIN", "as_file", "ending_of", "name_of", "open_source", "raw_lines", "raw_records"]
__all__ += ["split_path", "stored_bytes"]

STDIN = Path("/dev/stdin")
"""Standard input, on systems without that name as well; a path `-` is a file of that name."""

_NAMES = {"valid": ("valid", "validation")}
_GZIP = b"\x1f\x8b"
_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh91AY": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", _GZIP: "gzip"}
_HEAD = 8  # bytes by which formats are distinguished
_LOOKED_AT = 100  # lines that are inspected for formats other than plain text
_BLOCK = 1 << 16  # bytes read at a time
_LONGEST_LINE = 1 << 28  # bytes; without a limit, an endless device would fill the memory


def name_of(path: Path) -> str:
    """Return the name of a text in messages."""
    return "standard input" if path == STDIN else str(path)


def split_path(directory: Path, split: str) -> Path | None:
    """Return the path of the split's text in `directory`; None if there is none."""
    for name in _NAMES.get(split, (split,)):
        for suffix in (".txt", ".txt.gz", ".parquet"):
            if (path := directory / f"{name}{suffix}").is_file():
                return path
        if _tables(directory / name):
            return directory / name
    return None


def raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a corpus's text, line ends included, as in a file of plain text.

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


def raw_records(
    path: Path, column: str | None = None, *, numbers: bool = False, on_read: Callable[[int], None] | None = None
) -> Iterator[bytes]:
    """Yield the lines of a text that is named by itself, one per record if it has records; line ends included.

    The extension determines the format: .json, .jsonl, .csv, .tsv, .parquet, .arrow, each also with .gz. With
    another extension or none, and a `column`, the first line determines it.

    Args:
        path: of the text.
        column: that contains the text; None: `text`, `sentence`, or the only one with strings.
        numbers: whether the column may also contain integers, as labels do, or be empty in some rows.
        on_read: called with the number of bytes of each piece read.

    Raises:
        InputError: it is unreadable or damaged, lacks the column, or looks like JSON or CSV without the extension.
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
    """Open the bytes of `path` from the first one, decompressed if they are gzip data.

    Raises:
        InputError: they are unreadable, damaged, or compressed in another way; also from reads inside the block.
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
    """Provide a regular file with the content of `path`, for programs that open files themselves, and its sha256.

    For a pipe and for compressed data it is a copy that exists during the block, otherwise the file itself. Raises
    InputError as `open_source` does.
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
    """Return the number of bytes on the disk; raises OSError."""
    return sum(file.stat().st_size for file in _tables(path) or [path])


def _tables(path: Path) -> list[Path]:
    """Return the tables in a directory in order; none if it is something else."""
    if not path.is_dir():
        return []
    # Next to what it saved, `datasets` keeps cache-….arrow: earlier results of `map` and `filter` on the same rows.
    files = (file for file in sorted(path.iterdir()) if not file.name.startswith("cache-"))
    return [file for file in files if file.suffix in ENDINGS and file.is_file()]


class _Watched(io.FileIO):
    """A file that reports the number of bytes of each piece read."""

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
    """Return a stream from the current position of `file`, which may be a pipe, decompressed if it is gzip data."""
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
    """The first bytes of a stream that cannot seek, followed by the rest, in lines of bounded length.

    After its end the stream is not read again: a terminal would wait for input.
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
        self._ended = self._ended or not piece
        last = piece.rfind(b"\n")
        self._since_break = len(piece) - last - 1 if last >= 0 else self._since_break + len(piece)
        if self._since_break > _LONGEST_LINE:
            raise InputError(f"{self._name} has a line of over {_LONGEST_LINE:,} bytes; a line is one sentence")
        room[: len(piece)] = piece
        return len(piece)


def ending_of(path: Path) -> str:
    """Return the extension that determines the format of a text: `.csv` for `a.csv.gz`."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _table_ending(path: Path, stream: io.BufferedReader) -> str | None:
    """Return the extension of the table in the stream, by its first bytes or by the name; None for other content."""
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
