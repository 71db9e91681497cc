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
from itertools import repeat
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError
from lebm_text.plugins import CLASS
from lebm_text.store import sha256_file

from .fetching import datasets_library, with_the_hub
from .labels import label_path
from .records import FORMATS, without_breaks
from .registry import SPLITS
from .sources import ending_of, raw_records
from .tables import ENDINGS, column_of

__all__ = ["HUB", "Columns", "Part", "find_parts", "is_own_source", "name_of_source", "part_of_sentences"]

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


@dataclass(frozen=True)
class Part:
    """One text of a source.

    Attributes:
        name: for messages.
        place: for records; the full path of a file.
        split: train, valid, test, or None if the source does not name it.
        size: total of the amounts that `rows` reports.
        sha256: of what is stored.
        rows: yields text and label of each row, and calls its argument with the amount of each piece read. Raises
            InputError for unreadable data and missing columns.
    """

    name: str
    place: str
    split: str | None
    size: int
    sha256: str
    rows: Callable[[Callable[[int], None]], Rows]


def _of_file(path: Path, split: str | None, columns: Columns) -> Part:
    is_plain = ending_of(path) in ("", ".txt") and columns.text is None
    beside = label_path(path)
    label_file = path if columns.label is not None else beside if is_plain and beside.is_file() else None

    def rows(on_read: Callable[[int], None]) -> Rows:
        texts = raw_records(path, columns.text, on_read=on_read)
        if label_file is None:
            yield from zip(texts, repeat(b"\n"))
            return
        if label_file == path and is_plain:
            raise InputError(f"{path} is plain text, which has no column {columns.label!r}")
        labels = raw_records(label_file, columns.label, numbers=True, on_read=on_read)
        for text in texts:
            if (label := next(labels, None)) is None:
                raise InputError(f"{label_file} has fewer lines than {path}; they must be line by line")
            yield text, label
        if next(labels, None) is not None:
            raise InputError(f"{label_file} has more lines than {path}; they must be line by line")

    read = [path] if label_file is None else [path, label_file]  # one after the other
    sha256 = "+".join(map(sha256_file, dict.fromkeys(read)))
    return Part(str(path), str(path.absolute()), split, sum(each.stat().st_size for each in read), sha256, rows)


def _of_table(name: str, split: str | None, table: Any, columns: Columns) -> Part:
    """Return the part of a split of a data set, a `table` in the library's own cache."""

    def rows(on_read: Callable[[int], None]) -> Rows:
        schema, names = table.features.arrow_schema, None
        chosen = [column_of(schema, columns.text, name, numbers=False)]
        if columns.label is not None:
            chosen.append(column_of(schema, columns.label, name, numbers=True))
            names = getattr(table.features[columns.label], "names", None)
        for batch in table.select_columns(list(dict.fromkeys(chosen))).iter(batch_size=_AT_A_TIME):
            texts = batch[chosen[0]]
            for text, mark in zip(texts, batch[chosen[1]] if len(chosen) > 1 else repeat(None), strict=False):
                shown = names[mark] if names and isinstance(mark, int) and mark >= 0 else mark
                yield _line(text), _line(None if names and shown == -1 else shown)
            on_read(len(texts))

    digest = hashlib.sha256()
    for text, label in rows(lambda _n: None):
        digest.update(text + label)
    return Part(name, name, split, len(table), digest.hexdigest(), rows)


def part_of_sentences(name: str, sentences: Sequence[str]) -> Part:
    """Return sentences held in memory as the only part, without labels, of a corpus called `name`."""

    def rows(on_read: Callable[[int], None]) -> Rows:
        for sentence in sentences:
            yield _line(sentence), b"\n"
            on_read(1)

    sha256 = hashlib.sha256(b"".join(map(_line, sentences))).hexdigest()
    return Part(name, "sentences of a program", None, len(sentences), sha256, rows)


def _line(value: object) -> bytes:
    return without_breaks("" if value is None else str(value)).encode(errors="replace") + b"\n"


def is_own_source(name: str) -> bool:
    """Return whether this names a source to be imported: a file, or a data set of the Hub."""
    return name.startswith(HUB) or Path(name).is_file()


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
    if not source:  # it would mean the working directory
        raise InputError(f"'' names no text; give a file, a directory of files, or {HUB}user/dataset")
    path = Path(source)
    if path.is_file():
        if ending_of(path) not in (*_KNOWN, "") or (not ending_of(path) and path.suffix != ".gz"):
            raise InputError(
                f"{path} ends in none of {', '.join(_KNOWN)} (or one of these and .gz): what format is it?"
            )
        return [_of_file(path, None, columns)]
    if not path.is_dir():
        what = "is no file or directory" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; give a file, a directory of files, or {HUB}user/dataset")
    if (path / "config.json").is_file() and (path / "env.json").is_file():
        raise InputError(f"{path} is the directory of a run, not of text; its samples lie in {path / 'samples'}")
    files = [(file, _split_of(file.name.partition(".")[0])) for file in _files(path)]
    for directory in sorted(each for each in path.iterdir() if each.is_dir()):
        if split := _split_of(directory.name):
            files += [(file, split) for file in _files(directory)]
    if not files:
        raise InputError(f"{path} has no file that ends in one of {', '.join(_KNOWN)}")
    if any(split for _, split in files):
        if unnamed := [file.name for file, split in files if split is None]:
            raise InputError(f"{path} names splits, but for {', '.join(unnamed[:5])}; take these out or name all")
        if all(split != "train" for _, split in files):
            raise InputError(f"{path} has {files[0][0].name}, but no train text")
    return [_of_file(file, split, columns) for file, split in files]


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
    named = [(split, table) for each, table in tables.items() if (split := _split_of(each))]
    named.sort(key=lambda each: SPLITS.index(each[0]))  # test1 and test2 are both test
    if named and named[0][0] == "train":
        return [_of_table(f"{source} {split}", split, table, columns) for split, table in named]
    if len(tables) > 1:
        raise InputError(f"{source} has no train split; its splits: {', '.join(tables)}")
    return [_of_table(source, None, table, columns) for table in tables.values()]
