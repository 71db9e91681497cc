"""`lebm-text curves RUN...`: draw the training curves of runs."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.reports.curves import compute, draw
from lebm_text.reports.drawing import check_picture
from lebm_text.run import Run
from lebm_text.store import check_writable

from .options import RUN, output_option
from .parameters import Command
from .streams import print_note

__all__ = ["command"]


@click.command("curves", cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RUN)
@output_option("File of the picture; its suffix sets the format (png, svg, pdf).", default=Path("curves.png"))
def command(runs: tuple[Path, ...], output: Path) -> None:
    """Draw the training curves of one or more runs: NLL, energy gap, norms, standard deviations and curvature."""
    check_writable(output)
    check_picture(output)
    draw(compute([Run.find(run) for run in runs]), output)
    print_note(f"wrote {output}")
