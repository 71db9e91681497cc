"""`lebm-text generate -n 1000`: sentences from a trained model, to standard output or to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lebm_text.generation.samples import check_samples_writable, describe_rates, describe_samples, write_samples
from lebm_text.processes import joined
from lebm_text.progress import counter
from lebm_text.run import Run

from .console import progress
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
    the same sentences. With -o, FILE.json records settings, seed, hashes, the signature for reports, and the
    rates of empty, truncated, <unk> and duplicate sentences. Several processes share the work and give the same
    sentences: torchrun --nproc-per-node N -m -- lebm_text generate ...
    """
    found = Run.find(run)
    if output is not None:
        check_samples_writable(output)
    processes = click.get_current_context().with_resource(joined(device))
    with progress(quiet=as_json or not processes.first) as on_progress:
        on_sentence = counter(on_progress, "sentences generated", n)
        generated = found.model(device=device).generate(n, on_progress=on_sentence, processes=processes, **decoding)
        if not processes.first:
            return
        record = describe_samples(generated, found) if output is None else write_samples(output, generated, found)
    if as_json:
        print_text(json.dumps(record if output else record | {"sentences": generated.sentences}))
    elif output is None:
        print_text("".join(f"{sentence}\n" for sentence in generated.sentences), end="")
        print_note(f"{n:,} sentences from {found}; {describe_rates(generated.rates)}")
