"""What an experiment has done: every command with its exit status, seconds and threads, a line of JSON each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

__all__ = ["Log"]


@dataclass(frozen=True)
class Log:
    """The file `log.jsonl` of an experiment; threads of one process may share it."""

    path: Path
    _lock: Lock = field(default_factory=Lock)

    def entries(self) -> list[dict[str, Any]]:
        """In the order in which the steps ended."""
        with self._lock:
            text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        return [json.loads(line) for line in text.splitlines()]

    def add(self, entry: dict[str, Any]) -> None:
        """Append a step."""
        with self._lock, self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def maker(self, output: Path) -> str | None:
        """The command that last wrote a report; None if it is of no step."""
        made = [entry["command"] for entry in self.entries() if not entry["status"]]
        return next((command for command in reversed(made) if command.endswith(f" -o {output}")), None)

    def training(self, run: Path) -> dict[str, Any] | None:
        """How the last training of a run ended; None if no step was one."""
        trainings = [entry for entry in self.entries() if entry["command"].startswith("lebm-text train ")]
        return next((entry for entry in reversed(trainings) if f" --out {run} " in f"{entry['command']} "), None)
