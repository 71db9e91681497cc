"""`lebm-text generate -n 1000`: sentences from a trained model, to standard output or to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lebm_text.generation.samples import check_samples_writable, describe_rates, write_samples
from lebm_text.processes import joined
from lebm_text.progress import counter
from lebm_text.sharing.hub import run_or_demo

from .console import progress
from .main import INTERRUPTED
from .options import decoding_options, output_option, report_options, run_option, whole
from .parameters import Command
from .streams import print_note, print_text

__all__ = ["command"]


@click.command("generate", cls=Command)
@click.option("-n", type=whole(0), default=10, help="How many sentences.")
@run_option
@output_option("Write the sentences here, and to FILE.json how they were made.  [default: standard output]")
@decoding_options(default="sample", of_prior=True)
@report_options()
def command(n: int, run: Path | None, output: Path | None, device: str, as_json: bool, **decoding: Any) -> None:
    """Write N sentences sampled from a trained model, one a line; an empty sentence is an empty line.

    Each is decoded from a latent vector that the prior's chain draws; the same options and seed give the same ones.
    They are written as they come: any N fits the memory, but for --json without -o. Standard output spells control
    characters out, as \\x1b; the file of -o is exact, and FILE.json records settings, seed, hashes, and the rates of
    empty, truncated and repeated sentences. Several processes share: torchrun --nproc-per-node N -m -- lebm_text ...
    """
    found = run_or_demo(run)
    if output is not None:
        check_samples_writable(output)
    processes = click.get_current_context().with_resource(joined(device))
    first = processes.first
    shown = output is None and not as_json
    with progress(quiet=as_json or not first or (shown and sys.stdout.isatty())) as on_progress:
        show = counter(on_progress, "sentences generated", n)
        generation = found.model(device=device).stream(n, on_progress=show, processes=processes, **decoding)
        try:
            if first and not shown:
                record = write_samples(output, generation, found)
            else:
                for part in generation.parts():
                    print_text("".join(f"{sentence}\n" for sentence in part if first), end="")
        except KeyboardInterrupt:
            kept = "which are printed" if shown else "none of which is kept"
            print_note(f"interrupted after {generation.n_done:,} of {n:,} sentences, {kept}")
            raise click.exceptions.Exit(INTERRUPTED) from None
    if first and as_json:
        print_text(json.dumps(record))
    elif first and shown:
        print_note(f"{n:,} sentences from {found}; {describe_rates(generation.rates)}")
