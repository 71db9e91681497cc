"""What is computed from a text once and kept in the user's cache: its tokenizer, and its ids as files to be mapped.

`<cache>/tokenizers/<key>/` and `<cache>/encoded/<key>/`. A key is a hash of all that the entry depends on, the
hash of the text among it, so that no entry is ever out of date, and any may be deleted at any time. Short texts
leave nothing there: computing their entries anew takes a moment.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import cache_entry, fresh_directory, resumable_directory

from .corpora import Split
from .encoding import EncodedSentences, map_encoded, pack, write_encoded
from .sources import sha256_lines, stored_bytes
from .tokenizers import Tokenizer, load_tokenizer

__all__ = ["KEPT_FROM", "encode_split", "learn_tokenizer"]

KEPT_FROM = 1 << 20
"""Bytes of text: of shorter ones nothing is kept. So much takes 0.1 s to encode by words, 0.6 s by pieces."""

_VERSION = 1  # of the rules by which entries are made


def learn_tokenizer(split: Split, kind: str, settings: object, learn: Callable[[], Tokenizer]) -> Tokenizer:
    """`learn()`, or what it gave for a text, kind and settings (JSON) that were the same.

    A tokenizer that comes with notices is not kept, since its file does not hold them; nor is any in a cache that
    cannot be written: nothing but time is lost.
    """
    if _is_short(split):
        return learn()
    library = importlib.metadata.version("sentencepiece") if kind == "sentencepiece" else None
    directory = _entry("tokenizers", split, kind, settings, library)
    with suppress(InputError, OSError):
        return load_tokenizer(directory)
    tokenizer = learn()
    if not tokenizer.notices:
        with suppress(OSError), fresh_directory(directory) as fresh:
            tokenizer.save(fresh)
            _require_unchanged(split)
    return tokenizer


def encode_split(split: Split, tokenizer: Tokenizer, max_length: int) -> tuple[EncodedSentences, tuple[str, ...]]:
    """The sentences of at most `max_length` tokens (`</s>` not counted), in order, and what the user should know.

    A text of `KEPT_FROM` bytes or more is encoded into the cache, sentence by sentence, and mapped from there; its
    size may exceed the memory, and an interrupted encoding is continued. Only if the cache cannot be written are its
    ids held in memory, which is said.
    """

    def encode(start: int) -> Iterator[list[int] | None]:
        sentences = islice(split.sentences(), start, None)
        return (ids if len(ids) <= max_length else None for ids in map(tokenizer.encode, sentences))

    def in_memory() -> EncodedSentences:
        return pack((ids for ids in encode(0) if ids is not None), tokenizer.eos_id)

    if _is_short(split):
        return in_memory(), ()
    directory = _entry("encoded", split, tokenizer.fingerprint(), max_length)
    if (found := map_encoded(directory)) is not None:
        return found, ()
    try:
        with resumable_directory(directory) as place:
            # Of a text that was written anew while it was read, nothing is taken over.
            stamp = f"{stored_bytes(split.path)} {split.path.stat().st_mtime_ns}"
            write_encoded(place, encode, tokenizer.eos_id, len(tokenizer), stamp)
            _require_unchanged(split)
        if (found := map_encoded(directory)) is not None:
            return found, ()
        problem = "it changes while it is read"
    except OSError as error:
        problem = error.strerror or str(error)
    notice = (
        f"cannot write the cache {directory.parent}: {problem}; the encoded text is held in memory instead "
        "(set LEBM_TEXT_CACHE to a directory that can be written)"
    )
    return in_memory(), (notice,)


def _is_short(split: Split) -> bool:
    try:
        return stored_bytes(split.path) < KEPT_FROM
    except OSError:
        return True  # reading it says what is wrong


def _entry(kind: str, split: Split, *depends_on: object) -> Path:
    return cache_entry(kind, _VERSION, __version__, split.sha256, *depends_on)


def _require_unchanged(split: Split) -> None:
    """An entry is filed under the hash of its text, which was taken before the text was read again."""
    if sha256_lines(split.path) != split.sha256:
        raise InputError(f"{split.path} was changed while it was read; run the command again")
