"""The files of a run directory by name, and how a new run takes the place of an old one.

config.json, env.json                 how to repeat the run
tokenizer.json | spm.model            text to ids
model.safetensors                     the published weights
checkpoints/last, previous, best      to resume from
metrics.jsonl                         one line per report interval
samples/*.txt, eval/*.json            samples and reports
report.html, tensorboard/, wandb/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from lebm_text.errors import InputError
from lebm_text.text.tokenizers import TOKENIZERS
from lebm_text.writing import sweep

__all__ = ["check_free", "newest_run", "recover", "replacing", "runs_directory"]

CONFIG, ENVIRONMENT, WEIGHTS, METRICS = "config.json", "env.json", "model.safetensors", "metrics.jsonl"
CHECKPOINTS, SAMPLES, REPORTS, PAGE, TENSORBOARD = "checkpoints", "samples", "eval", "report.html", "tensorboard"
LOCK = ".lock"  # held by the process that trains
ASIDE, UNFINISHED = ".replaced", ".unfinished"  # the old run while a new one begins; marks one that has not begun
PUBLISHED = (CONFIG, ENVIRONMENT, *TOKENIZERS, WEIGHTS, METRICS)  # files of a run that are shared
# config.json is first, since it is renamed last when a run is put in place: where it exists, the run is complete.
ENTRIES = (CONFIG, ENVIRONMENT, *TOKENIZERS, WEIGHTS, CHECKPOINTS, METRICS, SAMPLES, REPORTS, PAGE, TENSORBOARD,
            "wandb")  # fmt: skip


def runs_directory() -> Path:
    """Return the default directory of runs: $LEBM_TEXT_RUNS, or `runs` in the working directory."""
    return Path(os.path.expanduser(os.environ.get("LEBM_TEXT_RUNS") or "runs"))


def newest_run(directory: Path) -> Path:
    """Return the run in `directory` whose weights were written last. Raises InputError if there is none."""
    runs = [path.parent for path in directory.glob(f"*/{CONFIG}")]
    finished = [run for run in runs if (run / WEIGHTS).is_file()]
    if finished:
        return max(finished, key=lambda run: ((run / WEIGHTS).stat().st_mtime_ns, run.name))
    if runs:
        raise InputError(
            f"no run in {directory} has weights yet; let the training end, "
            f"for example with: lebm-text train --resume --out {quote(str(runs[0]))}"
        )
    raise InputError(
        f"no run in {directory}; train one first (lebm-text train FILE), name the directory of one, set LEBM_TEXT_RUNS "
        "to where your runs are, or look at the small model that comes with lebm-text: --run kjv-demo"
    )


def check_free(directory: Path, *, overwrite: bool) -> None:
    """Raise InputError unless a new run may go to `directory`: absent, empty, or a run and `overwrite`."""
    found = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if not found - {LOCK} or (UNFINISHED in found and not {CONFIG, ASIDE} & found):
        return
    if not any((directory / place / CONFIG).is_file() for place in (".", ASIDE)):
        raise InputError(f"{directory} is neither empty nor a run; choose another directory")
    if not overwrite:
        raise InputError(
            f"{directory} already holds a run: continue it (--resume; in Python resume=True), replace it (--overwrite, "
            "overwrite=True), or choose another directory"
        )


@contextmanager
def replacing(directory: Path) -> Iterator[Callable[[], None]]:
    """Free `directory` for a new run inside: the old one is set aside, and restored on leaving.

    If the yielded function is called, once the new run has begun, it deletes the old one instead. A new run that fails
    before leaves nothing, and if it is killed, `Run.locked` restores the old one. Files that do not belong to a run are
    not touched. To be used inside `Run.locked`.
    """
    begun = failed = False

    def begin() -> None:
        nonlocal begun
        begun = True
        (directory / UNFINISHED).rmdir()
        recover(directory)

    try:
        _move_run(directory, directory / ASIDE)
        (directory / UNFINISHED).mkdir()
        yield begin
    except Exception:
        failed = True
        raise
    finally:
        if not begun:
            recover(directory, failed=failed)


def recover(directory: Path, *, failed: bool = False) -> None:
    """Finish an interrupted replacement of a run: the new one stays if it has begun, else the old one is restored.

    Without an old one, a new one that can be resumed stays too, unless it `failed`. If this is interrupted, another
    call completes it.
    """
    aside, unfinished = directory / ASIDE, directory / UNFINISHED
    new = (directory / CONFIG).is_file() and not failed and not (unfinished.exists() and aside.exists())
    if unfinished.exists() and not new:
        _move_run(directory, unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)
    if not new:
        _move_run(aside, directory, last_first=True)
    shutil.rmtree(aside, ignore_errors=True)
    sweep(directory)


def _move_run(source: Path, target: Path, *, last_first: bool = False) -> None:
    """Rename the files of the run in `source`, within one file system."""
    entries = [source / name for name in ENTRIES if os.path.lexists(source / name)]
    if entries:
        target.mkdir(exist_ok=True)
    for entry in reversed(entries) if last_first else entries:
        entry.rename(target / entry.name)
