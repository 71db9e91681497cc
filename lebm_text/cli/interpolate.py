"""`lebm-text interpolate`: what lies between two sentences."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.interpolation import PATHS, InterpolationSettings, compute
from lebm_text.run import Run
from lebm_text.text.reading import parse_sentence

from .console import make_report
from .options import field_option, report_options, run_option, seed_option
from .parameters import Command

__all__ = ["command"]


@click.command("interpolate", cls=Command)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@run_option
@field_option(InterpolationSettings, "n", "-n", help="Points, ends included.")
@click.option("--path", type=click.Choice([*PATHS, "both"]), default="both",
              help="Along the line, or along the great circle.")  # fmt: skip
@seed_option("Of the posterior draws.")
@report_options(table=True)
def command(a: str, b: str, run: Path | None, path: str, as_json: bool, **options: Any) -> None:
    """Decode latent vectors on the way from sentence A to sentence B, greedily.

    Both ends are one draw each from the posteriors. Beside each sentence: f(z), ‖z‖, and log p(A|z) and log p(B|z)
    in nats, which say how near the point still is to either.
    """
    sentences = parse_sentence(a, "A"), parse_sentence(b, "B")
    found = Run.find(run)
    settings = InterpolationSettings(paths=PATHS if path == "both" else (path,), **options)
    make_report(partial(compute, found, *sentences, settings), found, as_json=as_json)
