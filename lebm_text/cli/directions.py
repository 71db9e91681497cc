"""`lebm-text directions`: the direction of the latent space that stands for an attribute of labelled sentences."""

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
              help="Directory of train.label and of that of the split, a label a line.  "
              "[default: beside the text]")  # fmt: skip
@click.option("--positive", metavar="LABEL", help="The label of the attribute.  [default: the later of two]")
@field_option(DirectionsSettings, "split")
@field_option(DirectionsSettings, "sizes", "--size",
              help="Labelled sentences to learn from; repeatable.  "
              "[default: 10, 100, 1000 as far as there are]")  # fmt: skip
@field_option(DirectionsSettings, "repeats", help="Draws of each size.")
@field_option(DirectionsSettings, "held_out", help="Sentences to test on.")
@field_option(DirectionsSettings, "moved", help="Sentences to move.")
@field_option(DirectionsSettings, "shown", help="Of these to show.")
@draws_options(DirectionsSettings)
@report_options("directions.json in the run's eval/")
def command(run: Path | None, data_dir: Path | None, as_json: bool, output: Path | None, **settings: Any) -> None:
    """Find the direction of an attribute, say how well it tells sentences apart, and move sentences along it.

    The corpus needs train.label and valid.label beside train.txt and valid.txt (a label a line, an empty one where
    there is none), or in the directory --labels. A linear probe of posterior means learns from 10, 100, … labelled
    sentences; the majority class and a bag of words from the same labels stand beside it. Moved sentences are judged
    by a bag-of-words classifier, beside a move as far in a random direction.
    """
    found = Run.find(run, data_dir=data_dir)
    work = partial(compute, found, DirectionsSettings(**settings))
    make_report(work, found, "directions", output, as_json=as_json)
