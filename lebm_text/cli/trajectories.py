"""`lebm-text trajectories`: the chains that draw z from the learned prior, watched step by step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.trajectories import TrajectoriesSettings, compute
from lebm_text.run import Run

from .console import make_report
from .options import field_option, report_options, run_options, seed_option
from .parameters import Command

__all__ = ["command"]


@click.command("trajectories", cls=Command)
@run_options
@field_option(TrajectoriesSettings, "n", "-n", help="Chains.")
@field_option(TrajectoriesSettings, "shown", help="Chains whose sentences are shown.")
@field_option(TrajectoriesSettings, "factor", "--long", help="How many times longer the long run is.")
@seed_option()
@report_options("trajectories.json in the run's eval/")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Follow the Langevin chains from N(0, I) under the learned prior, and far beyond their usual end.

    f, log density, norm and gradient norm at every step; sentences decoded along the chains with the same decoding
    noise, and their FPPL and RPPL by 5-gram judges; and whether f stays constant in a long run. Chain i is that of
    sentence i of `lebm-text generate` with the same seed.
    """
    found = Run.find(run, data_dir=data_dir)
    work = partial(compute, found, TrajectoriesSettings(**settings))
    make_report(work, found, "trajectories", output, as_json=as_json)
