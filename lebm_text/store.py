"""Files that are either complete or absent: write aside, fsync, rename; and their hashes.

A reader never sees half a file, whatever kills the writer: the bytes go to a temporary file in the
same directory, reach the disk, and take the name in one `rename`. Imports the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError

__all__ = [
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "check_writable",
    "fsync_directory",
    "read_json",
    "sha256_file",
]


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that `path` holds the old content or all of the new, never a part.

    A symbolic link keeps pointing where it did. Something that is no regular file (a pipe, /dev/stdout)
    cannot be replaced by a rename and is written to directly. Raises OSError as the system reports it.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(data)
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
    atomic_write_bytes(path, text.encode("utf-8"))


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
    if os.name == "nt":
        return
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
