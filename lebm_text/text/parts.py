"""The parts of a user's own source of text: a file, the files of a directory, or the splits of a data set.

A directory may name splits by its files (`train.csv`, `test-00000-of-00002.parquet`) or by directories of files, as
`datasets` writes them with `save_to_disk`. Labels come from a column or from a file next to a plain text.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

from lebm_text.errors import InputError
from lebm_text.plugins import CLASS
from lebm_text.store import sha256_file

from .fetching import datasets_library, with_the_hub
from .labels import label_path
from .records import FORMATS, choose_column, without_breaks
from .sources import ending_of, raw_records
from .tables import ENDINGS

__all__ = ["HUB", "Columns", "Lines", "Part", "find_parts", "is_own_source", "name_of_source"]

logger = logging.getLogger(__name__)

HUB = "hf:"
"""Before the name of a data set of the Hugging Face Hub."""

Rows = Iterator[tuple[bytes, bytes]]  # lines of text and of labels, line ends included

_KNOWN = (".txt", *FORMATS, *ENDINGS)
_NAMES = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("valid", "validation", "val", "dev"), "valid"
)
_SPLIT = re.compile(rf"({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?:[-_.]?\d.*)?", re.IGNORECASE)
_RECORDS = ("dataset_dict.json", "dataset_info.json", "state.json", "import.json", "protocol.json", "manifest.json")
"""JSON that `datasets` and this program write beside texts."""
_AT_A_TIME = 1000  # rows of a data set


@dataclass(frozen=True)
class Columns:
    """Columns to read; None: the unambiguous text column, and no labels."""

    text: str | None = None
    label: str | None = None


class Part(Protocol):
    """One text of a source.

    Attributes:
        name: for messages.
        place: for records; the full path of a file.
        split: train, valid, test, or None if the source does not name it.
        size: total of the amounts that `rows` reports.
        sha256: of what is stored.
    """

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    @property
    def split(self) -> str | None: ...

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def rows(self, on_read: Callable[[int], None]) -> Rows:
        """Yield text and label of each row. Raises InputError for unreadable data and missing columns."""


@dataclass(frozen=True)
class _File:
    path: Path
    columns: Columns
    split: str | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def place(self) -> str:
        return str(self.path.absolute())

    @cached_property
    def _is_plain(self) -> bool:
        return ending_of(self.path) in ("", ".txt") and self.columns.text is None

    @cached_property
    def _labels(self) -> Path | None:
        """The file of labels, if any."""
        if self.columns.label is not None:
            return self.path
        beside = label_path(self.path)
        return beside if self._is_plain and beside.is_file() else None

    @property
    def _read(self) -> list[Path]:
        """The files to read, one after the other."""
        return [self.path] if self._labels is None else [self.path, self._labels]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self._read)

    @property
    def sha256(self) -> str:
        return "+".join(map(sha256_file, dict.fromkeys(self._read)))

    def rows(self, on_read: Callable[[int], None]) -> Rows:
        texts = raw_records(self.path, self.columns.text, on_read=on_read)
        if self._labels is None:
            yield from zip(texts, repeat(b"\n"))
            return
        if self._labels == self.path and self._is_plain:
            raise InputError(f"{self.path} is plain text, which has no column {self.columns.label!r}")
        labels = raw_records(self._labels, self.columns.label, numbers=True, on_read=on_read)
        for text in texts:
            if (label := next(labels, None)) is None:
                raise InputError(f"{self._labels} has fewer lines than {self.path}; they must be line by line")
            yield text, label
        if next(labels, None) is not None:
            raise InputError(f"{self._labels} has more lines than {self.path}; they must be line by line")


@dataclass(frozen=True)
class _Table:
    """A split of a data set in the library's own cache."""

    name: str
    split: str | None
    table: Any
    columns: Columns

    @property
    def place(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        return len(self.table)

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for text, label in self.rows(lambda _n: None):
            digest.update(text + label)
        return digest.hexdigest()

    def rows(self, on_read: Callable[[int], None]) -> Rows:
        kinds = {name: str(getattr(kind, "dtype", "")) for name, kind in self.table.features.items()}
        strings = [name for name, kind in kinds.items() if kind in ("string", "large_string")]
        chosen = [choose_column(strings, self.columns.text, self.name)]
        names = None
        if (label := self.columns.label) is not None:
            named = [name for name, kind in kinds.items() if name in strings or "int" in kind or kind == "bool"]
            chosen.append(choose_column(named, label, self.name))
            names = getattr(self.table.features[label], "names", None)
        table = self.table.select_columns(list(dict.fromkeys(chosen)))
        for batch in table.iter(batch_size=_AT_A_TIME):
            texts = batch[chosen[0]]
            for text, mark in zip(texts, batch[chosen[1]] if len(chosen) > 1 else repeat(None), strict=False):
                shown = names[mark] if names and isinstance(mark, int) and mark >= 0 else mark
                yield _line(text), _line(None if names and shown == -1 else shown)
            on_read(len(texts))


@dataclass(frozen=True)
class Lines:
    """Sentences held in memory, for a corpus called `name`."""

    name: str
    sentences: Sequence[str]
    split: None = None

    @property
    def place(self) -> str:
        return "sentences of a program"

    @property
    def size(self) -> int:
        return len(self.sentences)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(b"".join(map(_line, self.sentences))).hexdigest()

    def rows(self, on_read: Callable[[int], None]) -> Rows:
        """Yield rows without labels."""
        for sentence in self.sentences:
            yield _line(sentence), b"\n"
            on_read(1)


def _line(value: object) -> bytes:
    return without_breaks("" if value is None else str(value)).encode(errors="replace") + b"\n"


def is_own_source(name: str) -> bool:
    """Return whether this names a source to be imported: a file, or a data set of the Hub."""
    return name.startswith(HUB) or (bool(name) and Path(name).is_file())


def name_of_source(source: str) -> str:
    """Return the name of a corpus made from `source`: `reviews` for `reviews.csv.gz`, `b-en` for `hf:a/b:en`.

    For a plug-in class, `package.module:Class,key=value`, it is the part after the colon.
    """
    if CLASS.fullmatch(source.partition(",")[0]) and not Path(source).exists():
        return source.partition(":")[2]
    if source.startswith(HUB):
        return source.removeprefix(HUB).rpartition("/")[2].replace(":", "-")
    path = Path(source).resolve()
    return path.name if path.is_dir() else path.name.removesuffix(".gz").removesuffix(ending_of(path)) or path.name


def find_parts(source: str, columns: Columns) -> list[Part]:
    """Return the texts of which `source` consists, in a fixed order.

    Args:
        source: a file, a directory of files, or `hf:user/dataset[:config]`.
        columns: to read from each.

    Raises:
        InputError: nothing is there, its format is unknown, or it is the directory of a run.
    """
    if source.startswith(HUB):
        return _of_hub(source, columns)
    path = Path(source)
    if path.is_file():
        if ending_of(path) not in (*_KNOWN, "") or (not ending_of(path) and path.suffix != ".gz"):
            raise InputError(
                f"{path} ends in none of {', '.join(_KNOWN)} (or one of these and .gz): what format is it?"
            )
        return [_File(path, columns)]
    if not path.is_dir():
        what = "is no file or directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give a file, a directory of files, or {HUB}user/dataset")
    if (path / "config.json").is_file() and (path / "env.json").is_file():
        raise InputError(f"{path} is the directory of a run, not of text; its samples lie in {path / 'samples'}")
    files = [_File(file, columns, _split_of(file.name.partition(".")[0])) for file in _files(path)]
    for directory in sorted(each for each in path.iterdir() if each.is_dir()):
        if split := _split_of(directory.name):
            files += [_File(file, columns, split) for file in _files(directory)]
    if not files:
        raise InputError(f"{path} has no file that ends in one of {', '.join(_KNOWN)}")
    if any(file.split for file in files):
        if unnamed := [file.path.name for file in files if file.split is None]:
            raise InputError(f"{path} names splits, but for {', '.join(unnamed[:5])}; take these out or name all")
        if all(file.split != "train" for file in files):
            raise InputError(f"{path} has {files[0].path.name}, but no train text")
    return list(files)


def _files(directory: Path) -> list[Path]:
    """Return the files of a known format, except what `datasets` and this program write next to a text."""
    shown = (file for file in sorted(directory.iterdir()) if not file.name.startswith((".", "cache-")))
    files = [file for file in shown if file.is_file() and ending_of(file) in _KNOWN and file.name not in _RECORDS]
    of_samples = {f"{file.name}.json" for file in files}
    return [file for file in files if file.name not in of_samples]


def _split_of(stem: str) -> str | None:
    found = _SPLIT.fullmatch(stem)
    return _NAMES[found[1].lower()] if found else None


def _of_hub(source: str, columns: Columns) -> list[Part]:
    name, _, config = source.removeprefix(HUB).partition(":")
    if not name.strip("/"):
        raise InputError(f"{source!r} names no data set; write {HUB}user/dataset or {HUB}user/dataset:config")
    logger.info("fetching %s from the Hugging Face Hub", name)
    with datasets_library(source) as datasets, with_the_hub(datasets, name):
        tables = datasets.load_dataset(name, config or None)
    known: dict[str, Any] = {_split_of(each) or "": table for each, table in tables.items()}
    if "train" in known:
        found = {split: known[split] for split in ("train", "valid", "test") if split in known}
        return [_Table(f"{source} {split}", split, table, columns) for split, table in found.items()]
    if len(tables) > 1:
        raise InputError(f"{source} has no train split; its splits: {', '.join(tables)}")
    return [_Table(source, None, table, columns) for table in tables.values()]
