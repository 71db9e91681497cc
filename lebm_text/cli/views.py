"""`lebm-text views`: draw the latent space in two dimensions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.views import ViewsSettings, compute
from lebm_text.run import Run

from .console import make_report
from .options import field_option, report_options, run_options, seed_option
from .parameters import Command

__all__ = ["command"]


@click.command("views", cls=Command)
@run_options
@field_option(ViewsSettings, "split", help="Split of the sentences whose posteriors are drawn.")
@field_option(
    ViewsSettings, "n", "-n", help="Points of each distribution.  [default: 1000, or as many as there are sentences]"
)
@seed_option()
@report_options("views.json in the run's eval/")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Draw N(0, I), samples of the prior, and posterior draws of sentences in one picture, on common axes.

    If the prior has learned where sentences lie, its samples and the posterior draws have the same distribution of
    position, norm and f. A Gaussian prior is N(0, I) itself and is drawn once.
    """
    found = Run.find(run, data_dir=data_dir)
    work = partial(compute, found, ViewsSettings(**settings))
    make_report(work, found, "views", output, as_json=as_json)
