"""What training tells beside its progress and its log: events, and the figures among them in metrics.jsonl.

An event is a kind and a JSON-ready dictionary:

| kind | data |
|---|---|
| start | run, corpus, n_sentences, n_tokens, vocab_size, n_parameters, steps_per_epoch, n_steps, step, |
| | device, precision, threads, processes |
| report | step, epoch and the metrics of the updates since the last report |
| validation | step, epoch and metrics on held-out sentences |
| checkpoint | path, step |
| end | reason (finished, max_steps, max_minutes, stopped), step, seconds, path |
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Event", "Listener", "MetricsLog", "TensorBoardListener", "ignore", "read_metrics"]


@dataclass(frozen=True)
class Event:
    """Something that happened in training; see the table of kinds in the module's docstring."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing."""


class TensorBoardListener:
    """Writes the numbers of every report and validation to `directory`.

    The writer opens with the `start` event: by then the run directory exists, and a resumed run says from
    which step on its earlier lines no longer count.
    """

    def __init__(self, directory: Path) -> None:
        """Raises InputError if tensorboard is not installed, before any work is done."""
        if importlib.util.find_spec("tensorboard") is None:
            raise InputError("--tensorboard needs another package: pip install 'lebm-text[tensorboard]'")
        self.directory = directory
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Take note of one event."""
        if event.kind == "start":
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.directory), purge_step=event.data["step"] + 1)
        elif event.kind in ("report", "validation") and self._writer is not None:
            for name, value in event.data.items():
                if isinstance(value, (int, float)) and name != "step":
                    self._writer.add_scalar(f"{event.kind}/{name}", value, event.data["step"])
            self._writer.flush()
        elif event.kind == "end" and self._writer is not None:
            self._writer.close()
            self._writer = None


class MetricsLog:
    """metrics.jsonl: one JSON object per line, with an integer `step`, the number of updates done at that time.

    A run that was killed and resumed has the lines of one that was not, except for times: lines later than the
    checkpoint are dropped before training repeats those updates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system, so that a killed process has lost none before it."""
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
