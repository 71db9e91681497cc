"""`lebm-text views`: the latent space in two dimensions."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.reports.views import ViewsSettings, compute
from lebm_text.run import Run

from .console import progress, report_file, show_report
from .options import device_option, json_option, report_option, run_options, seed_option, split_option

__all__ = ["command"]


@click.command("views")
@run_options
@split_option("test", "train", "valid")
@click.option("-n", "n", type=click.IntRange(3), default=1000, show_default=True, help="Points of each set.")
@seed_option()
@device_option
@json_option
@report_option("views")
def command(
    run: Path | None,
    data_dir: Path | None,
    split: str,
    n: int,
    seed: int,
    device: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Draw N(0, I), samples of the prior, and posterior draws of sentences in one picture, on common axes.

    Where the prior has learned where sentences lie, its samples and the posterior draws have the same distribution
    of position, norm and f. A Gaussian prior is N(0, I) itself and is drawn once.
    """
    found = Run.find(run, data_dir=data_dir)
    file = report_file(found, "views", output)
    with progress(quiet=as_json) as on_progress:
        report = compute(found, ViewsSettings(n, split, seed=seed, device=device), on_progress)
    show_report(report, found, file, as_json=as_json)
