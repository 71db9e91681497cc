"""Many sentences as two arrays, all ids in a row and where each sentence starts: in memory, or mapped from files."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lebm_text.store import atomic_write_json

__all__ = ["EncodedSentences", "TokenArray", "map_encoded", "pack", "write_encoded"]

TokenArray: TypeAlias = "npt.NDArray[np.int32] | npt.NDArray[np.uint16]"

_TOKENS, _OFFSETS, _META, _POSITION = "tokens.bin", "offsets.bin", "meta.json", "position.json"
_BUFFERED = 1 << 18  # tokens held in memory before they are written
_SYNCED = 1 << 24  # tokens written between two positions from which an interrupted call can be continued


class EncodedSentences(NamedTuple):
    """Sentence i is `tokens[offsets[i]:offsets[i + 1]]`, its last token `</s>`."""

    tokens: TokenArray  # (total tokens,)
    offsets: npt.NDArray[np.int64]  # (n_sentences + 1,), from 0 to the total


def pack(encoded: Iterable[list[int]], eos_id: int) -> EncodedSentences:
    """Join lists of ids, each closed by `eos_id`; four bytes a token while it grows."""
    tokens = array("i")
    ends = array("q", [0])
    for ids in encoded:
        tokens.fromlist(ids)
        tokens.append(eos_id)
        ends.append(len(tokens))
    return EncodedSentences(np.array(tokens, dtype=np.int32), np.array(ends, dtype=np.int64))


def write_encoded(
    directory: Path, encode: Callable[[int], Iterable[list[int] | None]], eos_id: int, vocab_size: int, stamp: str = ""
) -> None:
    """`pack` into files of an existing directory, for `map_encoded`; what it holds in memory does not grow.

    Ids take two bytes where `vocab_size` allows it. All is on the disk when this returns; raises OSError. If it is
    interrupted, a later call with the same `stamp` goes on from where some 2²⁴ tokens before all was on the disk.

    Args:
        encode: the ids of the sentences from the one of that number on, None for one to be left out.
        stamp: of the text.
    """
    dtype = "<u2" if vocab_size <= 1 << 16 else "<i4"
    before = _position(directory, stamp)
    n_read, n_tokens, n_sentences = before or (0, 0, 0)
    tokens, ends = array("i"), array("q", [] if before else [0])
    with _opened(directory / _TOKENS) as token_file, _opened(directory / _OFFSETS) as offset_file:
        token_file.truncate(token_file.seek(n_tokens * np.dtype(dtype).itemsize))
        offset_file.truncate(offset_file.seek((n_sentences + 1) * 8 if before else 0))

        def flush() -> None:
            token_file.write(np.asarray(tokens).astype(dtype).tobytes())
            offset_file.write(np.asarray(ends).astype("<i8").tobytes())
            del tokens[:], ends[:]

        def sync() -> None:
            flush()
            for stream in (token_file, offset_file):
                stream.flush()
                os.fsync(stream.fileno())

        synced = n_tokens
        for ids in encode(n_read):
            n_read += 1
            if ids is None:
                continue
            tokens.fromlist(ids)
            tokens.append(eos_id)
            n_tokens += len(ids) + 1
            n_sentences += 1
            ends.append(n_tokens)
            if n_tokens - synced >= _SYNCED:
                sync()
                synced = n_tokens
                atomic_write_json(directory / _POSITION, [stamp, n_read, n_tokens, n_sentences])
            elif len(tokens) >= _BUFFERED:
                flush()
        sync()
    meta = {"dtype": dtype, "n_tokens": n_tokens, "n_sentences": n_sentences}
    (directory / _META).write_text(json.dumps(meta) + "\n", encoding="utf-8")


def _opened(path: Path) -> BinaryIO:
    """For writing, with what is there already."""
    path.touch()
    return path.open("r+b")


def _position(directory: Path, stamp: str) -> tuple[int, int, int] | None:
    """How many sentences an interrupted call had read, and how many tokens and sentences it had written."""
    try:
        found, *position = json.loads((directory / _POSITION).read_bytes())
        n_read, n_tokens, n_sentences = map(int, position)
    except (OSError, ValueError, TypeError):
        return None
    return (n_read, n_tokens, n_sentences) if found == stamp else None


def map_encoded(directory: Path) -> EncodedSentences | None:
    """What `write_encoded` left, read-only and read from the disk as it is used; None if it is not all there."""
    try:
        meta = json.loads((directory / _META).read_bytes())
        tokens = _map(directory / _TOKENS, meta["dtype"], meta["n_tokens"])
        offsets = _map(directory / _OFFSETS, "<i8", meta["n_sentences"] + 1)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return EncodedSentences(tokens, offsets) if offsets[-1] == len(tokens) else None


def _map(path: Path, dtype: str, n: int) -> npt.NDArray[Any]:
    if path.stat().st_size != n * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} does not hold {n} numbers")
    # The system maps no empty file.
    return np.asarray(np.memmap(path, dtype, mode="r")) if n else np.zeros(0, dtype)
