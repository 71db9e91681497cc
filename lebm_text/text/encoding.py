"""Encoded sentences as two arrays, all ids in a row and the start of each sentence: in memory or memory-mapped."""

from __future__ import annotations

import json
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lebm_text.store import atomic_write_json, resumable_directory, sha256_json

from .reading import Split
from .sources import stored_bytes

if TYPE_CHECKING:
    from .tokenizers import Tokenizer

__all__ = ["EncodedSentences", "TokenArray", "encode_split", "map_encoded", "pack", "write_encoded"]

TokenArray: TypeAlias = "npt.NDArray[np.int32] | npt.NDArray[np.uint16]"

_TOKENS, _OFFSETS, _META, _POSITION = "tokens.bin", "offsets.bin", "meta.json", "position.json"
_BUFFERED = 1 << 18  # tokens held in memory before they are written
_PIECE = 1 << 16  # bytes that are checked at a time
_SYNCED = 1 << 24  # tokens written between two positions at which an interrupted call can resume


class EncodedSentences(NamedTuple):
    """Sentence i is `tokens[offsets[i]:offsets[i + 1]]`, its last token `</s>`."""

    tokens: TokenArray  # (total tokens,)
    offsets: npt.NDArray[np.int64]  # (n_sentences + 1,), from 0 to the total


def pack(encoded: Iterable[list[int]], eos_id: int) -> EncodedSentences:
    """Join lists of ids, each closed by `eos_id`, using four bytes per token."""
    tokens, ends = array("i"), array("q", [0])
    for ids in encoded:
        tokens.fromlist(ids)
        tokens.append(eos_id)
        ends.append(len(tokens))
    return EncodedSentences(np.array(tokens, dtype=np.int32), np.array(ends, dtype=np.int64))


def encode_split(split: Split, tokenizer: Tokenizer, max_length: int) -> tuple[EncodedSentences, tuple[str, ...]]:
    """Encode the sentences of at most `max_length` tokens (`</s>` not counted), in order; return them and notices.

    Unless the text is short, its ids are written to the cache, `<cache>/encoded/<key>/`, sentence by sentence, and
    memory-mapped from there; they may exceed the memory, and an interrupted encoding is resumed. Only if the cache
    is not writable are they held in memory, with a notice.
    """

    def encode(start: int) -> Iterator[list[int] | None]:
        sentences = islice(split.sentences(), start, None)
        return (ids if len(ids) <= max_length else None for ids in map(tokenizer.encode, sentences))

    notices: tuple[str, ...] = ()
    if (directory := split.cache_entry("encoded", tokenizer.fingerprint(), max_length)) is not None:
        if (found := map_encoded(directory)) is not None:
            return found, ()
        problem = "it changes while it is read"
        try:
            with resumable_directory(directory) as place:
                # If the text was rewritten while it was read, nothing of it may be reused.
                stamp = f"{stored_bytes(split.path)} {split.path.stat().st_mtime_ns}"
                write_encoded(place, encode, tokenizer.eos_id, len(tokenizer), stamp)
                split.require_unchanged()
            if (found := map_encoded(directory)) is not None:
                return found, ()
        except OSError as error:
            problem = error.strerror or str(error)
        notices = (
            f"cannot write the cache {directory.parent}: {problem}; the encoded text is held in memory instead "
            "(set LEBM_TEXT_CACHE to a directory that can be written)",
        )
    return pack((ids for ids in encode(0) if ids is not None), tokenizer.eos_id), notices


def write_encoded(
    directory: Path, encode: Callable[[int], Iterable[list[int] | None]], eos_id: int, vocab_size: int, stamp: str = ""
) -> None:
    """`pack` into files of an existing directory, for `map_encoded`, in constant memory.

    Ids take two bytes if `vocab_size` allows it. Everything is synced to disk on return; raises OSError. If it is
    interrupted, a later call with the same `stamp` resumes from the last synced position, some 2²⁴ tokens back.

    Args:
        directory: where to write.
        encode: yields the ids of the sentences from a given number on, None for one to be left out.
        eos_id: closes each sentence.
        vocab_size: number of ids.
        stamp: identifies the text.
    """
    dtype = "<u2" if vocab_size <= 1 << 16 else "<i4"
    n_read, n_tokens, n_sentences, *sums = _position(directory, stamp, np.dtype(dtype).itemsize)
    tokens, ends = array("i"), array("q", [] if n_read else [0])
    with (directory / _TOKENS).open("ab") as token_file, (directory / _OFFSETS).open("ab") as offset_file:
        token_file.truncate(n_tokens * np.dtype(dtype).itemsize)
        offset_file.truncate((n_sentences + 1) * 8 if n_read else 0)

        def write(*, sync: bool) -> None:
            for i, (stream, numbers, kind) in enumerate(((token_file, tokens, dtype), (offset_file, ends, "<i8"))):
                content = np.asarray(numbers).astype(kind).tobytes()
                stream.write(content)
                sums[i] = zlib.crc32(content, sums[i])
                if sync:
                    stream.flush()
                    os.fsync(stream)
            del tokens[:], ends[:]

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
                write(sync=True)
                synced = n_tokens
                _write_record(directory / _POSITION, [stamp, n_read, n_tokens, n_sentences, *sums])
            elif len(tokens) >= _BUFFERED:
                write(sync=False)
        write(sync=True)
    _write_record(directory / _META, [dtype, n_tokens, n_sentences, *sums])


def _position(directory: Path, stamp: str, width: int) -> tuple[int, int, int, int, int]:
    """Return how many sentences an interrupted call had read, how many tokens and sentences written, and checksums."""
    with suppress(OSError, ValueError):
        found, n_read, n_tokens, n_sentences, *sums = _read_record(directory / _POSITION)
        parts = ((_TOKENS, n_tokens * width), (_OFFSETS, (n_sentences + 1) * 8))
        if found == stamp and sums == [_checksum(directory / name, n_bytes) for name, n_bytes in parts]:
            return n_read, n_tokens, n_sentences, sums[0], sums[1]
    return 0, 0, 0, 0, 0


def map_encoded(directory: Path) -> EncodedSentences | None:
    """Memory-map what `write_encoded` wrote, read-only; None if it is incomplete or damaged.

    The files are read once for this check, since training would use damaged ones silently.
    """
    with suppress(OSError, ValueError):
        dtype, n_tokens, n_sentences, *sums = _read_record(directory / _META)
        tokens = _map(directory / _TOKENS, dtype, n_tokens, sums[0])
        return EncodedSentences(tokens, _map(directory / _OFFSETS, "<i8", n_sentences + 1, sums[1]))
    return None


def _map(path: Path, dtype: str, n: int, checksum: int) -> npt.NDArray[Any]:
    n_bytes = n * np.dtype(dtype).itemsize
    if path.stat().st_size != n_bytes or _checksum(path, n_bytes) != checksum:
        raise ValueError(f"{path} is not as it was written")
    # The system cannot map an empty file.
    return np.asarray(np.memmap(path, dtype, mode="r")) if n else np.zeros(0, dtype)


def _checksum(path: Path, n_bytes: int) -> int:
    """Return the CRC-32 of a file's first bytes. It guards against failing disks: 3 GB/s, where SHA-256 has 0.3."""
    found = 0
    with path.open("rb") as stream:
        while n_bytes and (piece := stream.read(min(n_bytes, _PIECE))):
            found = zlib.crc32(piece, found)
            n_bytes -= len(piece)
    return found


def _write_record(path: Path, values: list[Any]) -> None:
    atomic_write_json(path, [*values, sha256_json(values)])


def _read_record(path: Path) -> list[Any]:
    """Read what `_write_record` wrote. Raises ValueError for anything else."""
    values: list[Any]
    try:
        *values, digest = json.loads(path.read_bytes())
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{path} holds no list") from error
    if digest != sha256_json(values):
        raise ValueError(f"{path} is not as it was written")
    return values
