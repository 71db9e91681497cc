"""`lebm-text generate -n 1000`: write sentences sampled from a trained model to standard output or a file."""

from __future__ import annotations

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
from .streams import print_json, print_note, print_text

__all__ = ["command"]


@click.command("generate", cls=Command)
@click.option("-n", type=whole(0), default=10, help="Number of sentences.")
@run_option
@output_option("Write the sentences to FILE, and how they were generated to FILE.json.  [default: standard output]")
@decoding_options(default="sample", of_prior=True)
@report_options()
def command(n: int, run: Path | None, output: Path | None, device: str, as_json: bool, **decoding: Any) -> None:
    """Write N sentences sampled from a trained model, one per line; an empty sentence is an empty line.

    Each is decoded from a latent vector drawn from the prior. The same options and seed give the same sentences. They
    are written as they are generated, so that any N fits into memory, except with --json and no -o. On standard output
    control characters are escaped, as in \\x1b; the file of -o is exact. FILE.json records the settings, the seed,
    hashes, and the rates of empty, truncated and repeated sentences. Several processes can share the work, with the
    same result: torchrun --nproc-per-node N -m -- lebm_text generate ...
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
        print_json(record)
    elif first and shown:
        print_note(f"{n:,} sentence{'s' * (n != 1)} from {found}; {describe_rates(generation.rates)}")
