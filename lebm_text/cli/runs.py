"""Run directories as the command line sees them: where they are kept, what is one, how one is replaced."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError

__all__ = ["check_free", "read_json", "remove_run", "runs_directory"]

# All that a run directory holds (tensorboard: an extra; the others: see the README).
_ENTRIES = (
    "config.json",
    "env.json",
    "tokenizer.json",
    "spm.model",
    "model.safetensors",
    "checkpoints",
    "metrics.jsonl",
    "samples",
    "eval",
    "report.html",
    "tensorboard",
)


def runs_directory() -> Path:
    """Where runs are kept unless a command names a place: $LEBM_TEXT_RUNS, or `runs` here."""
    return Path(os.environ.get("LEBM_TEXT_RUNS") or "runs")


def check_free(directory: Path, *, overwrite: bool) -> None:
    """Raise InputError unless a new run may go to `directory`: absent, empty, or a run and `overwrite`."""
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory} is neither empty nor a run; choose another directory with --out")
    if not overwrite:
        raise InputError(
            f"{directory} already holds a run: continue it with --resume, replace it with --overwrite, "
            "or choose another directory with --out"
        )


def remove_run(directory: Path) -> None:
    """Delete the run in `directory`, and nothing that a run does not consist of."""
    for name in _ENTRIES:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run; InputError if there is none."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no run: {path} does not exist") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: expected a JSON object")
    return value
