"""`lebm-text trajectories`: the chains that draw z from the learned prior, watched step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.reports.trajectories import TrajectoriesSettings, compute
from lebm_text.run import Run

from .console import progress, report_file, show_report
from .options import device_option, json_option, report_option, run_options, seed_option

__all__ = ["command"]


@click.command("trajectories")
@run_options
@click.option("-n", "n", type=click.IntRange(2), default=2000, show_default=True, help="Chains.")
@click.option("--shown", type=click.IntRange(0), default=4, show_default=True, help="Chains whose sentences are shown.")
@click.option(
    "--long",
    "factor",
    type=click.IntRange(10, 10_000),
    default=50,
    show_default=True,
    help="How many times longer the long run is.",
)
@seed_option()
@device_option
@json_option
@report_option("trajectories")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Follow the Langevin chains from N(0, I) under the learned prior, and far beyond their usual end.

    f, log density, norm and gradient norm at every step; sentences decoded along the chains with the same decoding
    noise, and their FPPL and RPPL by 5-gram judges; and whether f stays constant in a long run. Chain i is that of
    sentence i of `lebm-text generate` with the same seed.
    """
    found = Run.find(run, data_dir=data_dir)
    file = report_file(found, "trajectories", output)
    with progress(quiet=as_json) as on_progress:
        report = compute(found, TrajectoriesSettings(**settings), on_progress)
    show_report(report, found, file, as_json=as_json)
