"""`lebm-text directions`: find the latent direction of an attribute from labelled sentences."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.directions import DirectionsSettings, compute
from lebm_text.run import Run

from .console import make_report
from .options import DIRECTORY, draws_options, field_option, report_options, run_options
from .parameters import Command

__all__ = ["command"]


@click.command("directions", cls=Command)
@run_options
@click.option("--labels", "label_dir", type=DIRECTORY,
              help="Directory of train.label and the label file of the split, one label per line.  "
              "[default: where the text is]")  # fmt: skip
@click.option("--positive", metavar="LABEL", help="The label of the attribute.  [default: the later of two labels]")
@field_option(DirectionsSettings, "split", help="Split of the sentences that are tested and moved.")
@field_option(DirectionsSettings, "sizes", "--size",
              help="Number of labelled training sentences; repeatable.  "
              "[default: 10, 100, 1000, as far as there are enough]")  # fmt: skip
@field_option(DirectionsSettings, "repeats", help="Random training sets of each size.")
@field_option(DirectionsSettings, "held_out", help="Number of test sentences.")
@field_option(DirectionsSettings, "moved", help="Number of sentences to move.")
@field_option(DirectionsSettings, "shown", help="How many of the moved sentences to show.")
@draws_options(DirectionsSettings)
@report_options("directions.json in the run's eval/")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Find the latent direction of an attribute, measure how well it classifies sentences, and move sentences along it.

    The corpus needs train.label and valid.label next to train.txt and valid.txt, or in the directory --labels. They
    have one label per line; the line is empty where there is no label. A linear probe of posterior means is trained on
    10, 100, … labelled sentences and compared with the majority class and with a bag-of-words classifier trained on
    the same labels. A bag-of-words classifier also judges the moved sentences; the baseline is a move of the same
    length along a random direction at right angles.
    """
    found = Run.find(run, data_dir=data_dir)
    work = partial(compute, found, DirectionsSettings(**settings))
    make_report(work, found, "directions", output, as_json=as_json)
