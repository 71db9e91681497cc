"""`lebm-text train CORPUS`: a run directory from a corpus and a configuration; `--resume` continues one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.presets import DEFAULT_PRESET, PRESETS, preset
from lebm_text.run import check_free, replacing, runs_directory
from lebm_text.store import read_json
from lebm_text.training.events import Event, Listener

from .errors import INTERRUPTED
from .judging import check_judges
from .options import MAX_SEED, check_finite, data_dir_option, device_option, json_option
from .signals import stop_on_signals

__all__ = ["command"]


@click.command("train")
@click.argument("corpus", required=False)
@data_dir_option
@click.option(
    "--preset",
    "preset_name",
    metavar="NAME",
    help=f"Configuration to start from: {', '.join(PRESETS)}.  [default: {DEFAULT_PRESET}]",
)
@click.option(
    "--set",
    "assignments",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    help="Change one value of the configuration; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run directory.  [default: runs/<corpus>]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after update N, counted from the run's first.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(min=0, min_open=True),
    callback=check_finite,
    help="Stop after so many minutes of this call.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Short for --set training.seed=…")
@device_option
@click.option("--precision", type=click.Choice(["fp32", "bf16", "auto"]), help="Short for --set training.precision=…")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files to <run>/tensorboard, too.")
@json_option
def command(
    *,
    corpus: str | None,
    data_dir: Path | None,
    preset_name: str | None,
    assignments: tuple[str, ...],
    out: Path | None,
    resume: bool,
    overwrite: bool,
    max_steps: int | None,
    max_minutes: float | None,
    seed: int | None,
    device: str,
    precision: str | None,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Train a model on CORPUS and keep all about it in a run directory.

    CORPUS is a name (see `lebm-text data list`) or a directory with train.txt, valid.txt and test.txt, one
    sentence a line; with --resume it may be left out. Ctrl-C and SIGTERM write a checkpoint and stop.

    Several processes that share each batch: torchrun --nproc-per-node N -m -- lebm_text train CORPUS
    """
    if corpus is None and not resume:
        raise click.UsageError("missing CORPUS: a name (see `lebm-text data list`) or a directory")
    if resume and overwrite:
        raise click.UsageError("--resume continues a run, --overwrite replaces it: give one of them")
    if out is None:
        if corpus is None:
            raise click.UsageError("--resume needs the run: give CORPUS or --out DIR")
        out = runs_directory() / Path(corpus).resolve().name
    overrides = [*assignments]
    if seed is not None:
        overrides.append(f"training.seed={seed}")
    if precision is not None:
        overrides.append(f"training.precision={precision}")

    if resume:
        config = _stored_config(out, corpus, preset_name, overrides)
    else:
        config = preset(preset_name or DEFAULT_PRESET).override(overrides)
        check_free(out, overwrite=overwrite)
    if config.training.select == "valid_kn5":
        check_judges()

    from lebm_text.processes import joined
    from lebm_text.text.corpora import find_corpus
    from lebm_text.training import run

    from .console import open_listener

    board = out / "tensorboard" if tensorboard else None
    with ExitStack() as stack:
        processes = stack.enter_context(joined(device))  # after all checks of `out`, before any change to it
        broadcast = stack.enter_context(open_listener(as_json=as_json, tensorboard=board, quiet=not processes.first))
        listener: Listener = broadcast
        if corpus is not None and not resume:
            found = processes.first_then_others(lambda: find_corpus(corpus, data_dir=data_dir))
            start = partial(run.train, config, found, out)
            if overwrite and processes.first:
                listener = _once_started(listener, stack.enter_context(replacing(out)))
        else:
            start = partial(run.resume, out, data_dir=data_dir)
        signalled = stack.enter_context(stop_on_signals())
        summary = start(
            device=device,
            max_steps=max_steps,
            max_minutes=max_minutes,
            on_event=listener,
            should_stop=lambda: signalled() or broadcast.reader_gone,
            sample_score=_reverse_perplexity,
            processes=processes,
        )
    if broadcast.reader_gone:
        raise BrokenPipeError
    if summary.reason == "stopped":
        raise click.exceptions.Exit(INTERRUPTED)


def _once_started(listener: Listener, act: Callable[[], None]) -> Listener:
    """`listener`, and `act` before it hears that training starts."""

    def hear(event: Event) -> None:
        if event.kind == "start":
            act()
        listener(event)

    return hear


def _reverse_perplexity(samples: Sequence[str], real: Sequence[str], vocabulary: Sequence[str]) -> float:
    """RPPL of samples on real held-out sentences under KN5; what training.select = valid_kn5 makes small."""
    from lm_eval import rppl

    return rppl(samples, real, vocabulary=vocabulary).ppl


def _stored_config(directory: Path, corpus: str | None, preset_name: str | None, overrides: list[str]) -> Config:
    """The configuration of the run in `directory`; InputError if what was asked for beside --resume differs."""
    stored = Config.from_dict(read_json(directory / "config.json"))
    if corpus is not None:
        trained_on = read_json(directory / "env.json")["corpus"]["name"]
        if Path(corpus).resolve().name != Path(trained_on).resolve().name:
            raise InputError(f"the run in {directory} was trained on {trained_on}, not on {corpus}")
    base = stored if preset_name is None else preset(preset_name)
    asked = base.override(overrides)
    for path, wanted in asked.conflicts(stored).items():
        raise InputError(
            f"--resume keeps the configuration of {directory}: {path} is {stored.differences(asked)[path]}, "
            f"not {wanted}; for another one start a new run"
        )
    return stored
