"""`lebm-text interpolate`: decode latent vectors between those of two sentences."""

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
@field_option(InterpolationSettings, "n", "-n", help="Number of points, including both ends.")
@click.option("--path", type=click.Choice([*PATHS, "both"]), default="both",
              help="The path: a straight line, or a great circle.")  # fmt: skip
@seed_option("Seed of the posterior draws.")
@report_options(table=True)
def command(a: str, b: str, run: Path | None, path: str, as_json: bool, **options: Any) -> None:
    """Decode latent vectors on a path from sentence A to sentence B, greedily.

    The ends of the path are a posterior draw of each sentence. The table has for each decoded sentence f(z), ‖z‖, and
    log p(A|z) and log p(B|z) in nats, which say how close the point is to each of the two.
    """
    sentences = parse_sentence(a, "A"), parse_sentence(b, "B")
    found = Run.find(run)
    settings = InterpolationSettings(paths=PATHS if path == "both" else (path,), **options)
    make_report(partial(compute, found, *sentences, settings), found, as_json=as_json)
