"""`lebm-text curves RUN...`: the training curves of runs as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.reports.curves import compute, draw
from lebm_text.run import Run
from lebm_text.store import check_writable

__all__ = ["command"]


@click.command("curves")
@click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("curves.png"),
    show_default=True,
    help="The picture; its suffix decides the format (png, svg, pdf).",
)
def command(*, runs: tuple[Path, ...], output: Path) -> None:
    """Draw the curves of one or several run directories: NLL, energy gap, norms, spreads, curvature."""
    check_writable(output)
    draw(compute([Run(run) for run in runs]), output)
    click.echo(f"wrote {output}", err=True)
