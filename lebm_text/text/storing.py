"""The user's cache: directories that are complete or absent, and prepared corpora among them.

`<cache>/corpora/<name>/` holds the three splits and `manifest.json` with their hashes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .errors import InputError
from .reading import summarise
from .registry import SPLITS, CorpusEntry

__all__ = [
    "Counted",
    "cache_directory",
    "corpora_directory",
    "differences",
    "fresh_directory",
    "read_manifest",
    "resumable_directory",
    "store",
]

_MANIFEST = "manifest.json"
_VERSION = 1


class Counted(Protocol):
    """The hash and the counts of one file of text."""

    @property
    def sha256(self) -> str: ...
    @property
    def n_sentences(self) -> int: ...
    @property
    def n_words(self) -> int: ...


def cache_directory() -> Path:
    """`LEBM_TEXT_CACHE`, else `lebm-text` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LEBM_TEXT_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has relative paths ignored.
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "lebm-text"


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


@contextmanager
def fresh_directory(target: Path) -> Iterator[Path]:
    """An empty directory that becomes `target` when the block ends well, and is deleted when it does not.

    What had that name before is replaced. Raises OSError if that cannot be done.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        yield fresh
        _replace_directory(fresh, target, Path(scratch) / "old")


@contextmanager
def resumable_directory(target: Path) -> Iterator[Path]:
    """`fresh_directory`, but where a process was interrupted or killed, the next one finds what it left.

    An error leaves nothing. One process at a time has what was left; any other, and all where the system has no locks
    on files, start with an empty directory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _locked(part) as alone:
        if not alone:
            with fresh_directory(target) as fresh:
                yield fresh
            return
        try:
            yield part
            with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
                _replace_directory(part, target, Path(scratch) / "old")
        except Exception:
            shutil.rmtree(part, ignore_errors=True)
            raise


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Whether this process alone has the directory, which is made; others get False until it leaves, or dies."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield False
        return
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have given the directory its name in between.
            alone = os.path.samestat(os.fstat(stream.fileno()), os.stat(directory / "lock"))
        except OSError:
            alone = False
        yield alone


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


def _replace_directory(fresh: Path, target: Path, old: Path) -> None:
    """Give `fresh` the name `target`; what had it goes to `old`, to be deleted with the scratch directory."""
    for _ in range(3):
        try:
            os.rename(fresh, target)
            return
        except OSError:
            if not target.exists():
                raise
            # Another process may move or make the target in between: then the next round sees to it.
            shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, old)
    raise OSError(f"{target} keeps changing")
