"""`lebm-text report`: what there is of a run, on one page that can be looked at and sent on."""

from __future__ import annotations

from pathlib import Path

import click

from .sampling import find_run, run_option

__all__ = ["command"]


@click.command("report")
@run_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page.  [default: report.html in the run]",
    metavar="FILE",
)
def command(*, run: Path | None, output: Path | None) -> None:
    """Write one HTML page about a run: settings, curves, samples, evaluations, and how to repeat it.

    The page needs no network and no other file, and shows what there is: a run that still trains has one, too, and
    another call after an evaluation adds it. Reports in the run's eval/ and texts in its samples/ are taken up;
    samples/*.tsv are read as `lebm-text reconstruct` prints them.
    """
    run = find_run(run)

    from lebm_text.page.page import write_page
    from lebm_text.store import check_writable

    output = output or run / "report.html"
    check_writable(output)
    for note in write_page(run, output):
        click.echo(f"not on the page: {note}", err=True)
    click.echo(f"wrote {output}", err=True)
