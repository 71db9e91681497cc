"""Run directories as the command line sees them: where they are kept, what is one, how one is replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lebm_text.errors import InputError

__all__ = ["check_free", "replacing", "runs_directory"]

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


@contextmanager
def replacing(directory: Path) -> Iterator[Callable[[], None]]:
    """Inside, `directory` is free for a new run: the old one is set aside, and comes back on leaving.

    Unless the yielded function was called: it deletes the old run, once the new one has begun. Nothing that a run
    does not consist of is touched.
    """
    aside = directory / ".replaced"
    _move_run(directory, aside)
    try:
        yield lambda: shutil.rmtree(aside, ignore_errors=True)
    finally:
        if aside.exists():
            unfinished = directory / ".unfinished"
            _move_run(directory, unfinished)
            shutil.rmtree(unfinished, ignore_errors=True)
            _move_run(aside, directory)
            aside.rmdir()


def _move_run(source: Path, target: Path) -> None:
    """Rename what belongs to the run in `source`, within one file system."""
    entries = [source / name for name in _ENTRIES if (source / name).exists()]
    if entries:
        target.mkdir(exist_ok=True)
    for entry in entries:
        entry.rename(target / entry.name)
