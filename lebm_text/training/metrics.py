"""metrics.jsonl: one JSON object a line, appended and flushed; cut back to a checkpoint on resume.

A run that was killed and resumed has the lines of one that was not, except for times: lines later than
the checkpoint are dropped before training repeats those updates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

__all__ = ["MetricsLog", "read_metrics"]


class MetricsLog:
    """Append-only log; every record has an integer `step`, the number of updates done when it was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system, so that a killed process has lost none before it."""
        if not isinstance(record.get("step"), int):
            raise ValueError(f"a metrics record needs an integer step, got {record.get('step')!r}")
        self._stream.write(json.dumps(record).encode() + b"\n")
        self._stream.flush()

    def truncate_after(self, step: int) -> None:
        """Drop the lines with a step greater than `step`, and a cut-off last line; keep the rest as is."""
        self._stream.close()
        kept = [line for line, record in _lines(self.path) if record["step"] <= step]
        atomic_write_bytes(self.path, b"".join(line + b"\n" for line in kept))
        self._stream = self.path.open("ab")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._stream.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of `path` in order, without a cut-off last line; InputError for any other bad line."""
    return [record for _, record in _lines(path)]


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    found: list[tuple[bytes, dict[str, Any]]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("step"), int):
                raise ValueError
        except ValueError:
            # Nothing after the last newline is the normal end; part of a record there was cut off by a kill.
            if number == len(lines):
                break
            raise InputError(f"{path}, line {number}: expected a JSON object with an integer step") from None
        found.append((line, record))
    return found
