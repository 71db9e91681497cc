"""`lebm-text report`: what there is of a run, on one page that can be looked at and sent on."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.page.page import write_page
from lebm_text.run import Run
from lebm_text.store import check_ending, check_writable

from .options import output_option, run_option
from .parameters import Command
from .streams import print_note

__all__ = ["command"]


@click.command("report", cls=Command)
@run_option
@output_option("The page.  [default: report.html in the run]")
def command(run: Path | None, output: Path | None) -> None:
    """Write one HTML page about a run: samples, evaluations, curves, settings, and how to repeat it.

    The page needs no network and no other file, and shows what there is: a run that still trains has one, too, and
    another call after an evaluation adds it. Reports in the run's eval/ and texts in its samples/ are taken up;
    samples/*.tsv are read as `lebm-text reconstruct` prints them.
    """
    found = Run.find(run)
    output = output or found.page_file
    check_ending(output, "the page is HTML", ".html", ".htm")
    check_writable(output)
    for note in write_page(found, output):
        print_note(f"not on the page: {note}")
    print_note(f"wrote {output}")
