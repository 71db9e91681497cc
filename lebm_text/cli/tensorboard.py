"""Metrics of a run as TensorBoard event files, for those who have the extra `tensorboard`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text.errors import InputError
from lebm_text.training.events import Event

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardListener"]


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
