"""`lebm-text reconstruct`: encode sentences into the latent space and decode them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.reconstruction import ReconstructionSettings, reconstruct_lines
from lebm_text.run import Run
from lebm_text.text.reading import read_records
from lebm_text.text.sources import STDIN

from .console import progress
from .options import decoding_options, report_options, run_option, text_argument
from .parameters import Command
from .streams import print_json, print_text

__all__ = ["command"]


@click.command("reconstruct", cls=Command)
@text_argument("file", default="-")
@run_option
@decoding_options(default="greedy")
@report_options()
def command(file: Path, text_column: str | None, run: Path | None, as_json: bool, **settings: Any) -> None:
    """Read sentences, one per line, from FILE or standard input; print each, a tab, and its reconstruction.

    For each sentence a latent vector is drawn from the posterior and decoded. Words outside the vocabulary are read as
    <unk>. An empty line is a sentence without words and gets a line of output like any other. With --json, each line is
    an object with "input" and "reconstruction". A sentence longer than the model's maximum has no reconstruction.
    """
    found, how = Run.find(run), ReconstructionSettings(**settings)
    read = read_records(file, text_column)
    lines = read if file == STDIN else list(read)  # a bad file is refused before anything is printed
    with progress(quiet=as_json or sys.stdout.isatty()) as on_progress:
        for pair in reconstruct_lines(found.model(device=how.device), lines, how, on_progress):
            if as_json:
                print_json(asdict(pair))
            else:
                print_text(f"{pair.input}\t{pair.reconstruction or ''}")
