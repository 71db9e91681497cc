"""`lebm-text train CORPUS`: train a model on a corpus, or resume a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lebm_text.config import read_assignments
from lebm_text.presets import DEFAULT_PRESET, PRESETS
from lebm_text.reports.base import Settings
from lebm_text.run import Run, starting_config
from lebm_text.run_files import runs_directory
from lebm_text.sections import TrainingConfig
from lebm_text.text.corpora import require_known
from lebm_text.text.parts import name_of_source
from lebm_text.training.tracking import TRACKERS, Tracking

from .console import TrainingConsole, show_log
from .main import INTERRUPTED, quick_imports
from .options import (
    MINUTES,
    NEW_DIRECTORY,
    data_dir_option,
    device_options,
    field_option,
    json_option,
    trust_option,
    use_threads,
    whole,
)
from .parameters import Command

__all__ = ["command"]


@click.command("train", cls=Command)
@click.argument("corpus", required=False)
@data_dir_option
@click.option("--preset", metavar="NAME",
              help=f"Configuration to start from: {', '.join(PRESETS)}; or that of another run, by its directory or "
                   f"config.json.  [default: {DEFAULT_PRESET}]")  # fmt: skip
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True,
              help="Change one setting; repeatable.")  # fmt: skip
@click.option("--out", type=NEW_DIRECTORY, help="The run directory.  [default: runs/<corpus>]")
@click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@trust_option
@click.option("--max-steps", type=whole(), help="Stop after update N, counted from the start of the run.")
@click.option("--max-minutes", type=MINUTES, help="Stop this many minutes after the command starts.")
@field_option(Settings, "seed", default=None, help="Short for --set training.seed=…")
@device_options(threads=True)
@field_option(TrainingConfig, "precision", default=None, help="Short for --set training.precision=…")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard event files to <run>/tensorboard.")
@click.option("--wandb", is_flag=True, help="Also log to Weights & Biases; offline with WANDB_MODE=offline.")
@click.option("--mlflow", is_flag=True, help="Also log to MLflow at $MLFLOW_TRACKING_URI.")
@json_option
def command(
    *, corpus: str | None, out: Path | None, overrides: tuple[str, ...], seed: int | None, precision: str | None,
    n_threads: int | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Train a model on CORPUS and write it, with its configuration and metrics, to a run directory.

    CORPUS is a name (see `lebm-text data list`), a directory with train.txt, valid.txt and test.txt, one sentence per
    line, or any file that `lebm-text data import` reads; it may be left out with --resume. Ctrl-C and SIGTERM write a
    checkpoint and stop.

    Several processes can share each batch: torchrun --nproc-per-node N -m -- lebm_text train CORPUS
    """
    if corpus is None and not options["resume"]:
        raise click.UsageError("missing CORPUS: a name (see `lebm-text data list`) or a directory")
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume continues a run, --overwrite replaces it: give one of them")
    if out is None:
        if corpus is None:
            raise click.UsageError("--resume needs the run: give CORPUS or --out DIR")
        out = runs_directory() / name_of_source(corpus)
    overrides += _short({"seed": seed, "precision": precision, "n_threads": n_threads}, overrides)
    trackers = Tracking(Run(out), [name for name in TRACKERS if options.pop(name)])
    if corpus is not None and not options["resume"]:  # report mistakes before the slow import of torch
        starting_config(DEFAULT_PRESET if options["preset"] is None else options["preset"]).override(overrides)
        require_known(corpus, data_dir=options["data_dir"])
    with quick_imports():
        use_threads(n_threads)
        from lebm_text.training.train import train
    with TrainingConsole(as_json=as_json, trackers=trackers) as console, show_log(console.message):
        run = train(corpus, out=out, overrides=overrides, **console.listeners, **options)
    if console.lost is not None:
        raise console.lost
    if console.should_stop() and not run.progress().get("finished"):
        raise click.exceptions.Exit(INTERRUPTED)


def _short(options: Mapping[str, Any], overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assignments of options that stand for a setting. Raises UsageError if --set has one of them, too."""
    given = {f"training.{name}": value for name, value in options.items() if value is not None}
    if twice := sorted(given.keys() & read_assignments(overrides).keys()):
        raise click.UsageError(f"{twice[0]} has an option of its own and is set by --set, too: give one of them")
    return tuple(f"{name}={value}" for name, value in given.items())
