"""What training tells beside its progress and its log: events, each a kind and a JSON-ready dictionary.

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text.errors import InputError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Event", "Listener", "TensorBoardListener", "ignore"]


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
