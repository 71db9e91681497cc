"""metrics.jsonl, the figures of a training: written line by line, each with a digest, and read back."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

__all__ = ["MetricsLog", "figures_of", "read_metrics"]

_DIGEST = re.compile(rb'(.*), "digest": "([0-9a-f]{16})"}', re.DOTALL)  # digested content and digest
_HEXADECIMAL = re.compile("[0-9a-fA-F]{16}")


class MetricsLog:
    """metrics.jsonl: one JSON object per line, with an integer `step`, the number of updates done at that time.

    A run that was killed and resumed has the same lines as an uninterrupted one, except for times: lines later than
    the checkpoint are dropped before training repeats those updates. The last key of a line is its `digest`, of the
    previous digest and the line, so that a changed, lost or moved line is noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("ab")
        self._digest = ""  # of the last line

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and flush it, so that a killed process loses none of the earlier ones."""
        line = json.dumps(record).encode()
        self._digest = _digest(self._digest, line)
        self._stream.write(line[:-1] + b', "digest": "%s"}\n' % self._digest.encode())
        self._stream.flush()

    def truncate_after(self, step: int) -> None:
        """Drop the lines with a step greater than `step`, and a truncated last line; keep the rest as is."""
        self._stream.close()
        try:
            kept = [line for line in _lines(self.path) if line.record["step"] <= step]
        except InputError as error:
            raise InputError(f"{error}; give it another name, and the run goes on without the figures in it") from None
        atomic_write_bytes(self.path, b"".join(line.text + b"\n" for line in kept))
        self._stream, self._digest = self.path.open("ab"), kept[-1].digest if kept else ""

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._stream.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of `path` in order, without a truncated last line; InputError for any other bad line."""
    return [line.record for line in _lines(path)]


def figures_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the items of a record that are finite numbers, and not too large for a float."""
    return {k: v for k, v in record.items() if isinstance(v, (int, float)) and abs(v) <= sys.float_info.max}


class _Line(NamedTuple):
    text: bytes
    record: dict[str, Any]
    digest: str


def _digest(before: str, line: bytes) -> str:
    return hashlib.sha256(before.encode() + line).hexdigest()[:16]


def _lines(path: Path) -> list[_Line]:
    try:
        texts = path.read_bytes().split(b"\n")
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise InputError(f"{path} {reason}") from None
    found: list[_Line] = []
    for number, text in enumerate(texts, start=1):
        # Nothing after the last newline is the normal end; a partial record there was truncated by a kill.
        if number == len(texts) and not text.endswith(b"}"):
            if b"}" in text:
                raise InputError(f"{path} is damaged: its last line goes on after its end")
            break
        found.append(_line(text, found[-1].digest if found else "", f"{path}, line {number}"))
    return found


def _line(text: bytes, before: str, name: str) -> _Line:
    """Parse a line after one with the digest `before`."""
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise ValueError
    except (ValueError, RecursionError):
        raise InputError(f"{name}: expected a JSON object with an integer step") from None
    match = _DIGEST.fullmatch(text)
    digest = "" if match is None else match[2].decode()
    if match is None:
        # Lines without a digest are of version 0.1.0 and come before all others.
        whole = "digest" not in record and not any(_HEXADECIMAL.fullmatch(str(value)) for value in record.values())
        sound = not before and whole
    else:
        sound = _digest(before, match[1] + b"}") == digest
    if not sound:
        raise InputError(f"{name} is damaged: it does not match its digest")
    record.pop("digest", None)
    return _Line(text, record, digest)
