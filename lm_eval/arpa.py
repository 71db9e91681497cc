"""Models as ARPA files, the text format that kenlm and other n-gram tools read; nothing else here knows it.

Logs to base 10, eight decimals: the error of 5e-9 is below that of the single precision that kenlm keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .kneser_ney import BackoffModel, Float32Array

__all__ = ["write_arpa"]

Pieces = npt.NDArray[np.object_]

_CHUNK = 1 << 13  # n-grams formatted at a time: few, so that their pieces stay in the cache
_GROUP = 4  # decimals that are looked up together; a number has two such groups
_LARGEST = 100  # logs lie above minus this
_ZERO, _IMPOSSIBLE, _NOTHING = _LARGEST, _LARGEST + 1, 10**_GROUP  # rows after the numbers of the tables below


def _table(texts: list[bytes]) -> Pieces:
    return np.array(texts, dtype=object)


_WHOLE = _table([*(b"-%d." % i for i in range(_LARGEST)), b"0", b"-inf"])
_DECIMALS = [b"%0*d" % (_GROUP, i) for i in range(10**_GROUP)] + [b""]
_FIRST_GROUP = _table(_DECIMALS)
_LAST_GROUP = {end: _table([decimals + end for decimals in _DECIMALS]) for end in (b"\t", b"\n")}


def write_arpa(model: BackoffModel, path: Path) -> None:
    """Write `model`, UTF-8, so that `path` is either complete or as it was before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            for piece in _pieces(model):
                stream.write(piece)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _pieces(model: BackoffModel) -> Iterator[bytes]:
    yield b"\\data\\\n"
    for n, table in enumerate(model.tables, 1):
        yield b"ngram %d=%d\n" % (n, len(table))
    words = [word.encode("utf-8") for word in model.words]
    followed = {end: _table([word + end for word in words]) for end in (b" ", b"\t", b"\n")}
    for n, table in enumerate(model.tables, 1):
        yield b"\n\\%d-grams:\n" % n
        has_backoff = n < model.order
        for start in range(0, len(table), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = _numbers(table.log_prob[part], b"\t")
            columns += _words(model, followed, n, part, b"\t" if has_backoff else b"\n")
            if has_backoff:
                columns += _numbers(table.log_backoff[part], b"\n")
            yield b"".join(np.stack(columns, axis=1).ravel().tolist())
    yield b"\n\\end\\\n"


def _words(model: BackoffModel, followed: dict[bytes, Pieces], n: int, part: slice, end: bytes) -> list[Pieces]:
    """The words of a range of n-grams of order `n`, a column a place, blanks between and `end` after the last."""
    columns: list[Pieces] = []
    rows: slice | npt.NDArray[np.int32] = part
    for table in reversed(model.tables[:n]):
        columns.append(followed[b" " if columns else end][table.word[rows]])
        rows = table.prefix[rows]
    return columns[::-1]


def _numbers(logs: Float32Array, end: bytes) -> list[Pieces]:
    """Fixed-point text of values in [-99, 0] and `end`, in three columns; 0 and minus infinity as lmplz writes them.

    Digits are looked up, four at a time: to format millions of numbers one by one would take most of the time.
    """
    impossible, zero = np.isneginf(logs), logs == 0
    sizes = np.where(impossible, 0.0, -logs.astype(np.float64))
    rest, last = np.divmod(np.rint(sizes * 10 ** (2 * _GROUP)).astype(np.int64), 10**_GROUP)
    whole, first = np.divmod(rest, 10**_GROUP)
    whole[zero], whole[impossible] = _ZERO, _IMPOSSIBLE
    first[zero | impossible] = last[zero | impossible] = _NOTHING
    return [_WHOLE[whole], _FIRST_GROUP[first], _LAST_GROUP[end][last]]
