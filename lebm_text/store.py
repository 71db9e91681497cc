"""Files and directories that are either complete or absent, their hashes, locks, and the user's cache.

A reader never sees half a file, whatever kills the writer: the bytes go to a temporary file in the
same directory, reach the disk, and take the name in one `rename`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lebm_text.errors import InputError

__all__ = [
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "cache_directory",
    "cache_entry",
    "check_writable",
    "fresh_directory",
    "fsync_directory",
    "lock",
    "read_json",
    "resumable_directory",
    "sha256_file",
    "sha256_json",
]


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that `path` holds the old content or all of the new, never a part.

    A symbolic link keeps pointing where it did. Something that is no regular file (a pipe, /dev/stdout)
    cannot be replaced by a rename and is written to directly. Raises OSError as the system reports it.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of `text` in UTF-8, line ends as they are in `text`."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """`atomic_write_text` of `value` as indented JSON."""
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run. Raises InputError if there is none."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path.parent} is no run: cannot read {path.name} ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is damaged: it should hold a JSON object")
    return values


def check_writable(path: Path) -> None:
    """Raise InputError if `path` cannot be written; for use before the long work whose result goes there."""
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: the directory {path.parent} does not exist; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` (renames, new files) durable; nothing to do on Windows."""
    if os.name != "nt":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of the bytes of `path`, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Hexadecimal SHA-256 of a value as JSON, whose keys may stand in any order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def cache_directory() -> Path:
    """`LEBM_TEXT_CACHE`, else `lebm-text` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LEBM_TEXT_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has relative paths ignored.
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "lebm-text"


def cache_entry(kind: str, *depends_on: object) -> Path:
    """Where the cache keeps what depends on these values (ready for JSON) alone: it is never out of date.

    Any entry may be deleted at any time.
    """
    return cache_directory() / kind / sha256_json(depends_on)[:40]


@contextmanager
def lock(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[bool | None]:
    """Yields whether this process alone holds the lock file `path`; the system takes it back however the process dies.

    Args:
        on_wait: called once if another process holds the lock, which is then waited for. Without it there is no
            waiting, and the value is False.

    Where files cannot be locked (some network file systems, a directory that cannot be written) the value is None.
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
            with suppress(OSError):  # whoever waits at a file that is gone makes it anew
                path.unlink()
        held.release()


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
        _replace_directory(fresh, target)


@contextmanager
def resumable_directory(target: Path) -> Iterator[Path]:
    """`fresh_directory`, but where a process was interrupted or killed, the next one finds what it left.

    An error leaves nothing. One process at a time has what was left; any other, and all where files cannot be locked,
    start with an empty directory.
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
    """Give `fresh` the name `target`, and delete what had it."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        for number in range(3):
            try:
                fresh.rename(target)
                return
            except OSError:
                if not target.exists():
                    raise
                # Another process may move or make the target in between: then the next round sees to it.
                with suppress(FileNotFoundError):
                    target.rename(Path(scratch, str(number)))
    raise OSError(f"{target} keeps changing")
