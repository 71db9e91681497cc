"""`lebm-text report`: write an HTML page about a run."""

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
@output_option("File of the page.  [default: report.html in the run]")
def command(run: Path | None, output: Path | None) -> None:
    """Write one HTML page about a run: samples, evaluations, curves, settings, and how to repeat it.

    The page needs no network and no other file. It shows what the run has so far, also during training; call the
    command again after an evaluation to add it. The page includes the reports in the run's eval/ and the texts in its
    samples/; samples/*.tsv are reconstructions as `lebm-text reconstruct` prints them.
    """
    found = Run.find(run)
    output = output or found.page_file
    check_ending(output, "the page is HTML", ".html", ".htm")
    check_writable(output)
    for note in write_page(found, output):
        print_note(f"not on the page: {note}")
    print_note(f"wrote {output}")
