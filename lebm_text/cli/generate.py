"""`lebm-text generate -n 1000`: sentences from a trained model, to standard output or to a file."""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

import click

from lebm_text.generation.samples import check_samples_writable, describe_rates, describe_samples, write_samples
from lebm_text.processes import joined
from lebm_text.progress import counter
from lebm_text.run import Run

from .console import progress
from .main import INTERRUPTED
from .options import decoding_options, output_option, report_options, run_option, whole
from .streams import print_note, print_text

__all__ = ["command"]


@click.command("generate")
@click.option("-n", type=whole(0), default=10, help="How many sentences.")
@run_option
@output_option("Write the sentences here, and to FILE.json how they were made.  [default: standard output]")
@decoding_options(default="sample")
@report_options()
def command(n: int, run: Path | None, output: Path | None, device: str, as_json: bool, **decoding: Any) -> None:
    """Write N sentences sampled from a trained model, one a line; an empty sentence is an empty line.

    Each sentence is decoded from a latent vector that the prior's chain draws. The same options and seed give
    the same sentences. They are written as they come: any N fits the memory, but for --json without -o. Standard
    output spells control characters out, as \\x1b; the file of -o is exact, and FILE.json records settings, seed,
    hashes, the signature for reports, and the rates of empty, truncated, <unk> and duplicate sentences. Several
    processes share the work: torchrun --nproc-per-node N -m -- lebm_text generate ...
    """
    found, kept = Run.find(run), "none of which is kept"
    if output is not None:
        check_samples_writable(output)
    processes = click.get_current_context().with_resource(joined(device))
    lines = output is None and not as_json
    with progress(quiet=as_json or not processes.first or (lines and sys.stdout.isatty())) as on_progress:
        show = counter(on_progress, "sentences generated", n)
        generation = found.model(device=device).stream(n, on_progress=show, processes=processes, **decoding)
        try:
            if not processes.first:
                deque(generation, maxlen=0)
            elif output is not None:
                record = write_samples(output, generation, found)
            elif as_json:
                record = {"sentences": [sentence for part in generation.parts() for sentence in part]}
                record = describe_samples(generation, found) | record
            else:
                kept = "which are printed"
                for part in generation.parts():
                    print_text("".join(f"{sentence}\n" for sentence in part), end="")
        except KeyboardInterrupt:
            print_note(f"interrupted after {generation.n_done:,} of {n:,} sentences, {kept}")
            raise click.exceptions.Exit(INTERRUPTED) from None
    if processes.first and as_json:
        print_text(json.dumps(record))
    elif processes.first and lines:
        print_note(f"{n:,} sentences from {found}; {describe_rates(generation.rates)}")
