"""`lebm-text trajectories`: follow the Langevin chains that sample the learned prior, step by step."""

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
@field_option(TrajectoriesSettings, "n", "-n", help="Number of chains.")
@field_option(TrajectoriesSettings, "shown", help="How many chains to show sentences of.")
@field_option(TrajectoriesSettings, "factor", "--long", help="Length of the long run, as a multiple of the usual one.")
@seed_option()
@report_options("trajectories.json in the run's eval/")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Follow the Langevin chains that sample the learned prior from N(0, I), and continue them in a long run.

    The report has f, the log density, the norm of z and the gradient norm at every step; sentences decoded along the
    chains with the same decoding noise, with their FPPL and RPPL by 5-gram judges; and whether f stays constant in the
    long run. Chain i is that of sentence i of `lebm-text generate` with the same seed.
    """
    found = Run.find(run, data_dir=data_dir)
    work = partial(compute, found, TrajectoriesSettings(**settings))
    make_report(work, found, "trajectories", output, as_json=as_json)
