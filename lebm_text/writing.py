"""All writing of files: a file is either complete or unchanged.

A reader never sees a partial file, however the writer dies: the bytes go to a temporary file in the
same directory, are synced to disk, and replace the file in one `rename`.
"""

from __future__ import annotations

import errno
import glob
import gzip
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lebm_text.errors import InputError

if sys.platform != "win32":
    import fcntl

__all__ = [
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "atomic_writer",
    "check_ending",
    "check_writable",
    "fsync_directory",
    "is_plain",
    "scratch_directory",
    "sweep",
]

# The name of the target, the writing process, and a random number, which earlier versions did not add.
_TEMPORARY = re.compile(r"\.(.+)\.(\d+)(-[0-9a-f]+)?\.tmp", re.DOTALL)
_NO_NEW_NAMES = (errno.EACCES, errno.EPERM, errno.EROFS)  # no file can be created in the directory
_MOST_LINKS = 40
# File extensions that promise a format.
_FORMATS = {".arrow", ".csv", ".htm", ".html", ".json", ".jsonl", ".ndjson", ".parquet", ".pdf", ".png", ".svg", ".tsv"}
_NOT_WRITTEN = {stat.S_ISDIR: "directory", stat.S_ISBLK: "disk", stat.S_ISSOCK: "socket"}


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Provide a binary stream; after the block `path` has all that was written to it, after an error its old content.

    A symbolic link keeps its target, and a file its mode and owner. What a rename cannot replace is
    written to directly: a pipe, a device, an open descriptor (/dev/stdout, /dev/fd/3), a file in a directory that
    does not allow new files. A name that ends in `.gz` is compressed. Missing directories above `path` are created.

    Raises:
        OSError: as the system reports it, with `path` as its filename.
    """
    try:
        with _opened(path) as file:
            if path.suffix != ".gz":
                yield file
                return
            # No name and time in the header: equal text gives equal bytes.
            with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
                yield packed
    except OSError as error:
        name = error.filename
        if name is None or (isinstance(name, str) and _TEMPORARY.fullmatch(os.path.basename(name))):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if (descriptor := _own_descriptor(path)) is not None:
        with os.fdopen(os.dup(descriptor), "wb") as special:
            yield special
        return
    found = _status(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        with os.fdopen(os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)), "wb") as special:
            yield special
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent, target.name)
    try:
        temporary, file = _temporary(target)
    except OSError as error:
        if found is None or error.errno not in _NO_NEW_NAMES:
            raise
        with target.open("wb") as existing:
            yield existing
        return
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if found is not None:
            if sys.platform != "win32":
                with suppress(OSError):  # only an administrator may change owners
                    os.chown(temporary, found.st_uid, found.st_gid)
            temporary.chmod(found.st_mode & 0o777)
        try:
            temporary.replace(target)
        except OSError as error:
            if error.errno != errno.EBUSY:  # a mount point can only be written to
                raise
            with temporary.open("rb") as source, target.open("wb") as destination:
                shutil.copyfileobj(source, destination)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(target.parent)


def is_plain(path: Path) -> bool:
    """Return whether `path` is a file or missing, not a pipe, device or descriptor: others can be next to it."""
    return _own_descriptor(path) is None and (path.is_file() or not path.exists())


def _own_descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that `path` stands for, such as 1 for /dev/stdout, or None."""
    here = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        directory, name = os.path.split(here)
        directory = os.path.realpath(directory)
        if name.isdecimal() and directory in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(name)
        if not os.path.islink(here):
            break
        here = os.path.join(directory, os.readlink(here))
    return None


def _status(path: Path) -> os.stat_result | None:
    """Return the status of the target of `path`; None if it is missing."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """Create a file `.NAME.PID-RANDOM.tmp` next to `target`, locked until it is closed."""
    while True:
        path = _temporary_name(target)
        file = path.open("xb")
        if _hold(file.fileno()):
            return path, file
        file.close()


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """Provide a new, empty directory next to `target`, deleted at the end of the block.

    It is named and locked like temporary files, so that `sweep` finds what a killed process has left. Remains of
    earlier ones for `target` are deleted first.
    """
    sweep(target.parent, target.name)
    with ExitStack() as held:
        while True:
            path = _temporary_name(target)
            path.mkdir(mode=0o700)
            held.callback(shutil.rmtree, path, ignore_errors=True)
            if sys.platform == "win32":
                break
            descriptor = os.open(path, os.O_RDONLY)
            held.callback(os.close, descriptor)
            if _hold(descriptor):
                break
        yield path


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{_beginning(target.name)}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _hold(descriptor: int) -> bool:
    """Lock what was just created, where files have locks; return False if it was swept before."""
    if sys.platform != "win32":
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return os.fstat(descriptor).st_nlink > 0


def _beginning(name: str) -> str:
    """Return the first bytes of a long name, so that a suffix still fits the limits of file systems."""
    return os.fsdecode(os.fsencode(name)[:200])


def sweep(directory: Path, name: str | None = None) -> None:
    """Delete what killed processes left of writing the file or directory `name`, or any, in `directory`.

    This is what nobody has locked and whose process no longer exists. Process numbers of other machines and containers
    are unknown here, and a container's first process always has the same.
    """
    if sys.platform == "win32":
        return
    for path in directory.glob(f".{'*' if name is None else glob.escape(_beginning(name))}.*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or (name is not None and match[1] != _beginning(name)) or _is_another(int(match[2])):
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    path.unlink()
                elif match[3]:
                    shutil.rmtree(path)
            finally:
                os.close(descriptor)


def _is_another(process: int) -> bool:
    """Return whether such a process exists and is not this one."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return process != os.getpid()


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` by `atomic_writer`: it holds the old content or all of the new, never a part."""
    with atomic_writer(path) as stream:
        stream.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of `text` in UTF-8, line ends as they are in `text`."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """`atomic_write_text` of `value` as indented JSON."""
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def check_writable(path: Path, *, make_directory: bool = False) -> None:
    """Raise InputError if `path` cannot be written; for use before the long work whose result goes there.

    `make_directory`: the directory need not exist, but it must be possible to create it.
    """
    if (descriptor := _own_descriptor(path)) is not None:
        try:
            writable = sys.platform == "win32" or fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        except OSError:
            raise InputError(f"cannot write {path}: it is not open") from None
        if not writable:
            raise InputError(f"cannot write {path}: it is open for reading only")
        return
    try:
        found = _status(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    place = path if found is not None else Path(os.path.realpath(path) if path.is_symlink() else path).parent
    while make_directory and not place.exists():
        place = place.parent
    if found is None and not place.is_dir():
        raise InputError(f"cannot write {path}: the directory {place} does not exist; create it first")
    if found is not None:
        for is_it, kind in _NOT_WRITTEN.items():
            if is_it(found.st_mode):
                raise InputError(f"cannot write {path}: it is a {kind}; give the name of a file")
    if not os.access(place, os.W_OK):
        raise InputError(f"cannot write {path}: permission denied")


def check_ending(path: Path, what: str, *own: str, compressed: bool = False) -> None:
    """Raise InputError if the extension of `path` promises another format than is written.

    Args:
        path: the file to be written.
        what: says what is written, such as "the page is HTML".
        own: the extensions that fit.
        compressed: `.gz` after them fits, too: the file is then compressed.
    """
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz") if compressed else name).suffix
    if ending in (*_FORMATS, ".gz") and ending not in own:
        raise InputError(f"{what}, and {path} ends in {ending}: call it {own[0]}")


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` (renames, new files) durable; nothing to do on Windows."""
    if os.name != "nt":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
