"""What `fppl`, `rppl`, `evaluate` and `ngram` share: the guard of the name `lm_eval`, options, reading text."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError

from .options import MAX_SEED, check_finite, data_dir_option, device_option, json_option
from .sampling import run_option

__all__ = [
    "backend_option",
    "check_judges",
    "judge_options",
    "metric_options",
    "read_text",
    "show_progress",
    "show_stage",
]

F = TypeVar("F", bound=Callable[..., Any])

_JUDGES = [*(f"kn{order}" for order in range(2, 7)), "lstm", "both"]

backend_option = click.option(
    "--ngram-backend",
    type=click.Choice(["numpy", "lmplz"]),
    default="numpy",
    show_default=True,
    help="Estimate here, or with KenLM's lmplz from PATH (for texts larger than memory).",
)


def check_judges() -> None:
    """Raise InputError if `lm_eval` is not ours: another distribution has the same import name."""
    try:
        module = importlib.import_module("lm_eval")
        ours = module.PROVIDER == "lebm-text"
    except (ImportError, AttributeError):
        ours = False
    if not ours:
        raise InputError(
            "the module lm_eval that Python finds is not lebm-text's; the LM evaluation harness has the same "
            "import name: install the two in different environments"
        )
    other = module.foreign_provider()
    if other is not None:
        raise InputError(
            f"the installed distribution {other} has the same import name, lm_eval, and overwrites files of "
            f"lebm-text; pip uninstall {other}, then reinstall lebm-text, or use two environments"
        )


def read_text(path: Path) -> list[str]:
    """All sentences of a text file, empty lines included; InputError if it cannot be read or is empty."""
    from lebm_text.text.reading import read_lines

    sentences = list(read_lines(path))
    if not sentences:
        raise InputError(f"{path} is empty; a text has one sentence a line")
    return sentences


def show_stage(stage: str) -> None:
    """Say what begins, to a terminal."""
    if sys.stderr.isatty():
        click.echo(stage, err=True)


def show_progress(*, quiet: bool) -> Callable[[str], None]:
    """A function that shows how a training of minutes goes, a line an epoch; `quiet`: to a terminal only."""
    return show_stage if quiet else partial(click.echo, err=True)


def _check_each(ctx: click.Context, param: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        check_finite(ctx, param, value)
    return tuple(dict.fromkeys(values))


def judge_options(*, lm: str, temperatures: str, output: str) -> Callable[[F], F]:
    """The options of every command that judges; the arguments say what holds where they are not given."""

    def decorate(command: F) -> F:
        for option in reversed(
            [
                click.option(
                    "--samples",
                    type=click.Path(exists=True, dir_okay=False, path_type=Path),
                    help="Text to judge, one sentence a line, from any system.  [default: those of the run]",
                ),
                run_option,
                click.option(
                    "--corpus", metavar="NAME|DIR", help="The real text.  [default: what the run was trained on]"
                ),
                data_dir_option,
                click.option(
                    "--lm",
                    type=click.Choice(_JUDGES),
                    help=f"The judge: Kneser-Ney of this order, an LSTM, or kn5 and the LSTM.  [default: {lm}]",
                ),
                click.option(
                    "--protocol",
                    type=click.Choice(["default", "arae", "lebm"]),
                    default="default",
                    show_default=True,
                    help="What is counted, how the vocabulary is closed, who judges; arae, lebm: as those papers do.",
                ),
                click.option(
                    "--split",
                    type=click.Choice(["test", "valid"]),
                    default="test",
                    show_default=True,
                    help="The held-out real text; use valid for choices.",
                ),
                click.option(
                    "-n",
                    "n",
                    type=click.IntRange(min=1),
                    help="How many samples.  [default: all in the file; for a run as many as training sentences]",
                ),
                click.option(
                    "--temperature",
                    "temperatures",
                    type=click.FloatRange(min=0, min_open=True),
                    multiple=True,
                    callback=_check_each,
                    help=f"Judge the run at this decoding temperature; repeatable.  [default: {temperatures}]",
                ),
                click.option(
                    "--seed",
                    "seeds",
                    type=click.IntRange(0, MAX_SEED),
                    multiple=True,
                    callback=_check_each,
                    help="Judge the run's samples of this seed; repeatable; the first seeds the bootstrap.  "
                    "[default: 1]",
                ),
                click.option(
                    "--judge-seeds",
                    type=click.IntRange(1, 100),
                    default=1,
                    show_default=True,
                    help="Train the LSTM judge from so many seeds, for the spread.",
                ),
                backend_option,
                device_option,
                json_option,
                click.option(
                    "-o",
                    "--output",
                    type=click.Path(dir_okay=False, path_type=Path),
                    help=f"Write the report as JSON.  [default: {output}]",
                    metavar="FILE",
                ),
            ]
        ):
            command = option(command)
        return command

    return decorate


def metric_options(command: F) -> F:
    """The options of `fppl` and `rppl`: `judge_options` and what they can show beside the figure."""
    for option in (
        click.option("--diversity", is_flag=True, help="Also BLEU, self-BLEU, distinct-n and repetition."),
        click.option(
            "--calibrate",
            is_flag=True,
            help="Also judge texts of known quality: n-gram samples, training text, a repeated block.",
        ),
        judge_options(
            lm="both; kn5 for arae, lstm for lebm",
            temperatures="1",
            output="into the run's eval/; nowhere for --samples",
        ),
    ):
        command = option(command)
    return command
