"""Programs run from start to end, and the most memory that any of them held."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finished", "run"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finished:
    """Peak resident memory in MB, and what the last program printed."""

    memory: float
    output: str


def run(*commands: Sequence[str]) -> Finished:
    """Run commands one after the other, in the project's directory.

    A small process of its own starts them: a program's peak, as the system counts it, begins at the size of the
    process that started it. Raises RuntimeError with what the command said if one fails.
    """
    starter = [sys.executable, "-S", "-E", str(Path(__file__))]
    started = subprocess.run(starter, input=json.dumps(commands), capture_output=True, text=True, cwd=ROOT, check=False)
    if started.returncode:
        raise RuntimeError(started.stderr.strip())
    return Finished(**json.loads(started.stdout))


def _start() -> None:
    output = ""
    for command in json.load(sys.stdin):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\nfailed with exit code {done.returncode}:\n{done.stderr}")
        output = done.stdout
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    json.dump({"memory": peak / (2**20 if sys.platform == "darwin" else 2**10), "output": output}, sys.stdout)


if __name__ == "__main__":
    _start()
