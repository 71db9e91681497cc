"""Options that several commands share, so that they have one name, one check and one help text."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "MAX_SEED",
    "check_finite",
    "data_dir_option",
    "device_option",
    "json_option",
    "report_option",
    "run_option",
    "seed_option",
    "split_option",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

MAX_SEED = 2**63 - 1  # the largest that torch takes


def check_finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Callback of options that take a number: refuses `nan` and `inf`, which click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"must be a finite number, got {value}")
    return value


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to look for corpora first; only read.  [default: $LEBM_TEXT_DATA, then ./data]",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a CUDA device if there is one.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")

run_option = click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Run directory of the model.  [default: the newest under $LEBM_TEXT_RUNS, or ./runs]",
)


def report_option(name: str) -> Decorator:
    """`--output` of a command whose report and pictures go into the run unless a place is named."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Write the report as JSON, pictures beside it.  [default: {name}.json in the run's eval/]",
    )


def seed_option(help_text: str | None = None, *, default: int = 1) -> Decorator:
    """`--seed`."""
    return click.option("--seed", type=click.IntRange(0, MAX_SEED), default=default, show_default=True, help=help_text)


def split_option(default: str, *others: str, help_text: str | None = None) -> Decorator:
    """`--split`, with the splits in the order of the corpus."""
    names = [name for name in ("train", "valid", "test") if name in (default, *others)]
    return click.option("--split", type=click.Choice(names), default=default, show_default=True, help=help_text)
