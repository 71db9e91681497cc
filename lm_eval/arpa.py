"""Models as ARPA files, the text format that kenlm and other n-gram tools read; nothing else here knows it.

Logs to base 10, eight decimals: the error of 5e-9 is below that of the single precision that kenlm keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .kneser_ney import Float32Array, NgramModel

__all__ = ["write_arpa"]

_CHUNK = 1 << 17  # n-grams formatted at a time; bounds the memory, not the result
_DECIMALS = 8


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write `model`, UTF-8, so that `path` is either complete or as it was before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            for piece in _pieces(model):
                stream.write(piece)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _pieces(model: NgramModel) -> Iterator[bytes]:
    yield b"\\data\\\n"
    for n, table in enumerate(model.tables, 1):
        yield b"ngram %d=%d\n" % (n, len(table))
    words = np.array([word.encode("utf-8") for word in model.words], dtype=object)
    for n, table in enumerate(model.tables, 1):
        yield b"\n\\%d-grams:\n" % n
        for start in range(0, len(table), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = [_decimal(table.log_prob[part]), _words(model, words, n, part)]
            if n < model.order:
                columns.append(_decimal(table.log_backoff[part]))
            yield b"\n".join(map(b"\t".join, zip(*columns, strict=True)))
            yield b"\n"
    yield b"\n\\end\\\n"


def _words(model: NgramModel, words: npt.NDArray[np.object_], n: int, part: slice) -> list[bytes]:
    """The words of a range of n-grams of order `n`, each n-gram's joined by blanks."""
    columns = []
    rows: slice | npt.NDArray[np.int32] = part
    for table in reversed(model.tables[:n]):
        columns.append(words[table.word[rows]].tolist())
        rows = table.prefix[rows]
    return columns[0] if n == 1 else list(map(b" ".join, zip(*reversed(columns), strict=True)))


def _decimal(logs: Float32Array) -> list[bytes]:
    """Fixed-point text of values in [-99, 0]; 0 and minus infinity as lmplz writes them.

    One vector operation a digit: to format millions of numbers one by one would take most of the time.
    """
    impossible = np.isneginf(logs)
    sizes = np.where(impossible, 0.0, -logs.astype(np.float64))
    rest = np.rint(sizes * 10**_DECIMALS).astype(np.int64)
    text = np.full((len(logs), _DECIMALS + 4), ord("-"), dtype=np.uint8)  # "-dd." and the decimals
    text[:, 3] = ord(".")
    for column in (*range(_DECIMALS + 3, 3, -1), 2):
        rest, digit = np.divmod(rest, 10)
        text[:, column] = digit + ord("0")
    numbers = np.ascontiguousarray(text[:, 1:]).view(f"S{_DECIMALS + 3}").ravel()
    if rest.any():
        text[:, 1] = rest + ord("0")
        numbers = np.where(rest > 0, text.view(f"S{_DECIMALS + 4}").ravel(), numbers)
    result: list[bytes] = np.select([logs == 0, impossible], [b"0", b"-inf"], numbers).tolist()
    return result
