"""Options that several commands share, so that they have one name, one check and one help text."""

from __future__ import annotations

import math
from pathlib import Path

import click

__all__ = [
    "MAX_SEED",
    "check_finite",
    "data_dir_option",
    "device_option",
    "json_option",
]

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
