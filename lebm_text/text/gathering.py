"""The first pass over a user's own text: its sentences are parsed one by one and hashed.

An interrupted pass is resumed by the next call.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, tee
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lebm_text.progress import Progress, adder
from lebm_text.store import atomic_write_json

from .parts import Part
from .reading import parse_lines

__all__ = ["Gathered", "gather"]

_TEXTS, _LABELS, _HASHES = "texts", "labels", "hashes"
_POSITION = "position.json"
_KEY = b"lebm-text split"
_SYNCED = 100_000  # rows between two positions from which it can resume


@dataclass
class _Position:
    """Progress of the reading, all of it synced to disk.

    Attributes:
        stamp: identifies sources and options.
        ends: number of sentences up to the end of each part that is completely read.
        rows_of_part: rows read of the next part.
        sizes: of the files, in bytes.
    """

    stamp: str
    counts: dict[str, int] = field(default_factory=lambda: {"rows": 0, "empty": 0, "words": 0, "longest": 0})
    ends: list[int] = field(default_factory=list)
    rows_of_part: int = 0
    labelled: bool = False
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((_TEXTS, _LABELS, _HASHES), 0))


@dataclass(frozen=True)
class Gathered:
    """The sentences of all parts, in order.

    Attributes:
        place: directory of the files.
        counts: numbers of rows, of empty ones among them and of words; the most words of a sentence.
        ends: number of sentences up to the end of each part.
        labelled: whether any sentence has a label.
    """

    place: Path
    counts: dict[str, int]
    ends: list[int]
    labelled: bool

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(n_sentences,) hash of each sentence, the same on every machine."""
        return np.fromfile(self.place / _HASHES, "<u8")

    @property
    def lines(self) -> dict[str, Path]:
        """Files with one line per sentence: texts, and labels if any, by the file extension in a corpus."""
        texts = {".txt": self.place / _TEXTS}
        return texts | {".label": self.place / _LABELS} if self.labelled else texts

    def delete(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.place)


def gather(
    directory: Path,
    stamp: str,
    parts: list[Part],
    form: Callable[[bytes], bytes],
    on_progress: Progress,
    source: str,
) -> Gathered:
    """Read all parts into files below `directory`, resuming an interrupted call with the same `stamp`.

    Everything else in `directory` is deleted.

    Args:
        directory: for the files.
        stamp: identifies the parts and `form`.
        parts: texts to read.
        form: applied to each line of text before it is parsed.
        on_progress: reports the size of what was read.
        source: name of the parts in progress reports.

    Raises:
        InputError: a part cannot be read.
        OSError: the files cannot be written.
    """
    place = directory / "gathered"
    at = _left(place, stamp)
    if at is None:
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        place.mkdir()
        at = _Position(stamp)
    size = sum(part.size for part in parts)
    add = adder(lambda stage, done, total: on_progress(stage, min(done, total), total), f"reading {source}", size)
    add(sum(part.size for part in parts[: len(at.ends)]))
    counts, n_sentences = at.counts, at.sizes[_HASHES] // 8
    with ExitStack() as stack:
        files = {name: stack.enter_context((place / name).open("ab")) for name in at.sizes}
        for name, n_bytes in at.sizes.items():
            files[name].truncate(n_bytes)
        for part in parts[len(at.ends) :]:
            for text, label in _pairs(part, form, add, at.rows_of_part):
                counts["rows"] += 1
                at.rows_of_part += 1
                if text:
                    line = text.encode()
                    digest = hashlib.blake2b(line, digest_size=8, key=_KEY).digest()
                    for name, content in ((_TEXTS, line + b"\n"), (_LABELS, label.encode() + b"\n"), (_HASHES, digest)):
                        files[name].write(content)
                    n_sentences += 1
                    counts["words"] += (n_words := text.count(" ") + 1)
                    counts["longest"] = max(counts["longest"], n_words)
                    at.labelled = at.labelled or bool(label)
                else:
                    counts["empty"] += 1
                if counts["rows"] % _SYNCED == 0:
                    _sync(place, at, files)
            at.ends.append(n_sentences)
            at.rows_of_part = 0
        if counts["rows"] >= _SYNCED:
            _sync(place, at, files)
    on_progress(f"reading {source}", size, size)
    return Gathered(place, counts, at.ends, at.labelled)


def _pairs(
    part: Part, form: Callable[[bytes], bytes], on_read: Callable[[int], None], n_known: int
) -> Iterator[tuple[str, str]]:
    """Yield sentence and label of each row after the first `n_known`, both checked; labels are not transformed."""
    texts, labels = tee(part.rows(on_read))
    skipped = islice(texts, n_known)
    pairs = zip(
        # Blank lines preserve the line numbers in messages.
        parse_lines(chain((b"\n" for _ in skipped), (form(text) for text, _ in texts)), part.name),
        parse_lines((label for _, label in labels), f"{part.name}, labels"),
        strict=True,
    )
    return islice(pairs, n_known, None)


def _left(place: Path, stamp: str) -> _Position | None:
    """Return the position at which an interrupted call with the same `stamp` stopped; None if there was none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = _Position(**json.loads((place / _POSITION).read_bytes()))
        if found.stamp == stamp and all((place / name).stat().st_size >= n for name, n in found.sizes.items()):
            return found
    return None


def _sync(place: Path, at: _Position, files: Mapping[str, BinaryIO]) -> None:
    for name, file in files.items():
        file.flush()
        os.fsync(file)
        at.sizes[name] = file.tell()
    atomic_write_json(place / _POSITION, asdict(at))
