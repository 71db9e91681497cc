"""Columns of strings in Arrow and Parquet files, some rows at a time, every batch validated before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from lebm_text.errors import InputError, one_line

from .records import choose_column

__all__ = ["ENDINGS", "MAGIC", "column_of", "table_rows"]

ENDINGS = (".arrow", ".parquet")
MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
"""How files begin, and the ending they should have. Arrow's stream format, which `datasets` writes, has none such."""

_FILE_MAGIC = b"ARROW1"  # Arrow's file format, also called Feather
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"  # without it, a stream was cut between two batches
_STRINGS = ("string", "large_string")
_NUMBERS = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_ROWS = 1024  # rows in memory at a time, if a table's own blocks are larger


def table_rows(
    stream: BinaryIO, ending: str, column: str | None, name: str, *, numbers: bool = False
) -> Iterator[str | None]:
    """Yield the rows of a column of strings; None for null.

    Args:
        stream: seekable.
        ending: .arrow or .parquet.
        column: see `choose_column`.
        name: for messages.
        numbers: whether the column may contain integers, which become strings.

    Raises:
        InputError: damaged, or without the column.
    """
    import pyarrow

    try:
        batches = _parquet(stream, column, name, numbers) if ending == ".parquet" else _arrow(stream)
        for batch in batches:
            batch.validate(full=True)
            texts = batch.column(column_of(batch.schema, column, name, numbers))
            for start in range(0, len(texts), _ROWS):
                rows = texts.slice(start, _ROWS).to_pylist()
                yield from rows if not numbers else (None if row is None else str(row) for row in rows)
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"cannot read {name}: damaged ({one_line(error, 100)})") from None


def _parquet(stream: BinaryIO, column: str | None, name: str, numbers: bool) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True) as file:
        n_rows = 0
        for batch in file.iter_batches(_ROWS, columns=[column_of(file.schema_arrow, column, name, numbers)]):
            n_rows += len(batch)
            yield batch
        if n_rows != file.metadata.num_rows:
            raise ValueError(f"{n_rows} rows instead of {file.metadata.num_rows}")


def _arrow(stream: BinaryIO) -> Iterator[Any]:
    import pyarrow

    start = stream.read(len(_FILE_MAGIC))
    stream.seek(-len(start), 1)
    if start == _FILE_MAGIC:
        file = pyarrow.ipc.open_file(stream)
        yield from map(file.get_batch, range(file.num_record_batches))
        return
    yield from pyarrow.ipc.open_stream(stream)
    stream.seek(-len(_END_OF_STREAM), 1)
    if stream.read() != _END_OF_STREAM:
        raise ValueError("it ends in the middle")


def column_of(schema: Any, column: str | None, name: str, numbers: bool) -> str:
    """Return the column of text, or with `numbers` of labels, in an Arrow schema: see `choose_column`."""
    fitting = {field.name for field in schema if str(field.type) in _STRINGS + _NUMBERS * numbers}
    return choose_column([each for each in schema.names if each in fitting], column, name)
