"""The places that the text of a split may lie in, each read line by line and never as a whole.

| in the corpus's directory | read as |
|---|---|
| `train.txt` | lines |
| `train.txt.gz` | the same, unpacked on the way |
| `train.parquet` | the rows of a column, `text`, `sentence` or the only one with strings |
| `train/*.arrow`, `train/*.parquet` | the same, file by file; `datasets` writes such with `save_to_disk` |

`validation` may stand for `valid`. A row of several lines is several sentences.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError

__all__ = ["raw_lines", "split_path", "stored_bytes"]

_TABLES = (".arrow", ".parquet")
_COLUMNS = ("text", "sentence")
_NAMES = {"valid": ("valid", "validation")}
_FILE_MAGIC = b"ARROW1"  # Arrow's file format, also called Feather; what lacks it is Arrow's stream format
_ROWS = 1024  # rows of a table in memory at a time, where its own blocks are larger


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
    """The lines of a text, line ends included, as they would stand in a file of plain text.

    Raises:
        InputError: the place cannot be read, is damaged, or is a table without a column of text.
    """
    try:
        if tables := _tables(path):
            for table in tables:
                yield from _rows(table)
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                yield from stream
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: damaged ({error})") from error


def stored_bytes(path: Path) -> int:
    """Bytes on the disk; raises OSError."""
    return sum(file.stat().st_size for file in _tables(path) or [path])


def _tables(path: Path) -> list[Path]:
    """The tables in a directory in order, or the one that `path` is; none if it is something else."""
    if not path.is_dir():
        return [path] if path.suffix in _TABLES and path.is_file() else []
    # Beside what was saved `datasets` keeps cache-….arrow: what its `map` and `filter` once made of the same rows.
    files = (file for file in sorted(path.iterdir()) if not file.name.startswith("cache-"))
    return [file for file in files if file.suffix in _TABLES and file.is_file()]


def _rows(path: Path) -> Iterator[bytes]:
    import pyarrow

    try:
        for batch in _batches(path):
            for text in batch.column(_column(path, batch.schema)):
                for line in (text.as_py() or "").split("\n"):
                    yield line.encode() + b"\n"
    except pyarrow.ArrowException as error:
        raise OSError(f"damaged ({' '.join(str(error).split())[:100]})") from error


def _batches(path: Path) -> Iterator[Any]:
    """The rows of a table, some at a time."""
    import pyarrow
    import pyarrow.parquet

    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from file.iter_batches(_ROWS, columns=[_column(path, file.schema_arrow)])
        return
    with pyarrow.memory_map(str(path)) as source:
        if source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
            file = pyarrow.ipc.open_file(source)
            yield from map(file.get_batch, range(file.num_record_batches))
        else:
            source.seek(0)
            yield from pyarrow.ipc.open_stream(source)


def _column(path: Path, schema: Any) -> str:
    found: list[str] = [field.name for field in schema if str(field.type) in ("string", "large_string")]
    if len(found) == 1:
        return found[0]
    for name in _COLUMNS:
        if name in found:
            return name
    raise InputError(
        f"{path} should have a column {' or '.join(_COLUMNS)} of strings, or just one of any name; "
        f"its columns of strings: {', '.join(found) or 'none'}"
    )
