"""Files (by `lebm_text.writing`) and directories that are complete or absent, hashes, locks, and the user's cache."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lebm_text.errors import InputError
from lebm_text.writing import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    atomic_writer,
    check_ending,
    check_writable,
    fsync_directory,
    is_plain,
    scratch_directory,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "atomic_writer",
    "cache_directory",
    "cache_entry",
    "check_ending",
    "check_writable",
    "fresh_directory",
    "fsync_directory",
    "is_plain",
    "keep",
    "keep_array",
    "kept",
    "kept_array",
    "lock",
    "read_json",
    "resumable_directory",
    "sha256_file",
    "sha256_json",
    "writing_cache",
]


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises InputError if there is none."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged: it should hold a JSON object")
    return values


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of the bytes of `path`, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Return the hexadecimal SHA-256 of a value as JSON, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def cache_directory() -> Path:
    """Return `LEBM_TEXT_CACHE`, else `lebm-text` in `XDG_CACHE_HOME` or `~/.cache`.

    Raises InputError if that is in the home of a user who has none, as in a container.
    """
    own, base = os.environ.get("LEBM_TEXT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser()
        # The XDG specification says to ignore relative paths.
        return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "lebm-text"
    except RuntimeError:
        raise InputError("there is no home directory for the cache; set LEBM_TEXT_CACHE to a directory") from None


def cache_entry(kind: str, *depends_on: object) -> Path:
    """Return the cache path of what depends only on these values (ready for JSON), so that it is never out of date.

    Any entry may be deleted at any time.
    """
    return cache_directory() / kind / sha256_json(depends_on)[:40]


@contextmanager
def writing_cache(directory: Path) -> Iterator[None]:
    """Turn errors in writing a `directory` of the cache inside into InputErrors."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write the cache {directory}: {error.strerror or error}; "
            "set LEBM_TEXT_CACHE to a directory that can be written"
        ) from error


def keep(entry: Path, content: bytes) -> None:
    """Store `content` as a cache entry, after its SHA-256. A cache that is not writable only costs time."""
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(entry, hashlib.sha256(content).digest() + content)


def kept(entry: Path) -> bytes | None:
    """Return what `keep` stored; None if it is missing or damaged."""
    try:
        stored = entry.read_bytes()
    except OSError:
        return None
    digest, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def keep_array(entry: Path, array: NDArray[Any]) -> None:
    """Store an array of numbers as `keep` does."""
    import numpy as np  # not needed for the list of commands

    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    keep(entry, stream.getvalue())


def kept_array(entry: Path) -> NDArray[Any] | None:
    """Return the array that `keep_array` stored; None if it is missing or damaged."""
    import numpy as np

    content = kept(entry)
    return None if content is None else np.load(io.BytesIO(content), allow_pickle=False)


@contextmanager
def lock(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[bool | None]:
    """Yield whether this process holds the lock file `path` alone; the system releases it when the process dies.

    Args:
        on_wait: called once before waiting for a process that holds the lock. If None, there is no waiting, and the
            value is False.

    Where files cannot be locked (some network file systems, a read-only directory) the value is None.
    """
    held = FileLock(path)
    state: bool | None = True
    try:
        try:
            held.acquire(blocking=False)
        except Timeout:
            if on_wait is None:
                state = False
            else:
                on_wait()
                held.acquire()
    except (OSError, NotImplementedError):
        state = None
    try:
        yield state
    finally:
        if state:
            with suppress(OSError):  # a process that waits at a deleted file creates it again
                path.unlink()
        held.release()


@contextmanager
def fresh_directory(target: Path) -> Iterator[Path]:
    """Provide an empty directory that becomes `target` after the block, or is deleted after an error.

    An existing `target` is replaced. Raises OSError if that fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(target) as scratch:
        fresh = scratch / "fresh"
        fresh.mkdir()
        yield fresh
        _replace_directory(fresh, target)


@contextmanager
def resumable_directory(target: Path) -> Iterator[Path]:
    """`fresh_directory`, except that after an interrupt or a kill the next process finds what was left.

    An error leaves nothing. Only one process at a time gets what was left; any other, and all where files cannot be
    locked, start with an empty directory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with lock(target.with_name(f".{target.name}.lock")) as alone:
        if not alone:
            with fresh_directory(target) as fresh:
                yield fresh
            return
        part.mkdir(exist_ok=True)
        try:
            yield part
            _replace_directory(part, target)
        except Exception:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _replace_directory(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`, and delete the old one."""
    with scratch_directory(target) as scratch:
        for number in range(3):
            try:
                fresh.rename(target)
                return
            except OSError:
                if not target.exists():
                    raise
                # Another process may move or create the target in between: then the next iteration handles it.
                with suppress(FileNotFoundError):
                    target.rename(scratch / str(number))
    raise OSError(f"{target} keeps changing")
