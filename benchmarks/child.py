"""Run programs and report their maximum memory."""

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
    """Peak resident memory in MB, and the output of the last program."""

    memory: float
    output: str


def run(*commands: Sequence[str]) -> Finished:
    """Run commands one after the other, in the project's directory.

    A small separate process starts them: a program's peak, as the system counts it, is at least the size of the
    process that started it. Raises RuntimeError with the command's message if one fails.
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
