"""`lebm-text generate -n 1000`: sentences from a trained model, to standard output or to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, atomic_write_text, check_writable, sha256_file

from .options import device_option, json_option
from .sampling import decoding_options, find_run, progress, run_option

if TYPE_CHECKING:
    from lebm_text.generation.generate import Generated

__all__ = ["command"]


@click.command("generate")
@click.option("-n", "n", type=click.IntRange(min=0), default=10, show_default=True, help="How many sentences.")
@run_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the sentences here, and to FILE.json how they were made.  [default: standard output]",
    metavar="FILE",
)
@decoding_options(default="sample")
@device_option
@json_option
def command(
    n: int,
    run: Path | None,
    output: Path | None,
    decode: str,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    max_length: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Write N sentences sampled from a trained model, one a line; an empty sentence is an empty line.

    Each sentence is decoded from a latent vector that the prior's chain draws. The same options and seed give
    the same sentences. With -o, FILE.json records settings, seed, hashes, the signature for reports, and the
    rates of empty, truncated, <unk> and duplicate sentences. Several processes share the work and give the same
    sentences: torchrun --nproc-per-node N -m -- lebm_text generate ...
    """
    run = find_run(run)
    sidecar = None if output is None else output.with_name(f"{output.name}.json")
    for path in (output, sidecar):
        if path is not None:
            check_writable(path)
            if path.exists() and not path.is_file():
                raise InputError(f"{path} is no regular file; leave out -o to write to standard output")

    from lebm_text.generation.decoding import DecodeSettings
    from lebm_text.model import WEIGHTS_FILE, LatentEBM
    from lebm_text.processes import joined

    DecodeSettings(decode, temperature, top_k, top_p)  # refuses before the model is read
    processes = click.get_current_context().with_resource(joined(device))
    model = LatentEBM.from_pretrained(run, device=device)
    with progress(n, "generated", quiet=as_json or not processes.first) as on_progress:
        generated = model.generate(
            n,
            decode=decode,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            max_length=max_length,
            on_progress=on_progress,
            processes=processes,
        )
    if not processes.first:
        return
    text = "".join(f"{sentence}\n" for sentence in generated.sentences)
    report = _report(generated, run, sha256_file(run / WEIGHTS_FILE))
    if output is not None and sidecar is not None:
        atomic_write_text(output, text)
        report |= {"file": str(output), "sha256": sha256_file(output)}
        atomic_write_json(sidecar, report)
        if as_json:
            click.echo(json.dumps(report))
    elif as_json:
        click.echo(json.dumps(report | {"sentences": generated.sentences}))
    else:
        click.echo(text.encode(), nl=False)  # UTF-8, whatever the locale
    if not as_json:
        where = "" if output is None else f", in {output} and {sidecar}"
        click.echo(f"{n:,} sentences from {run}{where}; {_summary(generated.rates)}", err=True)


def _report(generated: Generated, run: Path, weights_sha256: str) -> dict[str, Any]:
    return {
        "signature": generated.signature,
        "settings": generated.settings,
        "seed": generated.settings["seed"],
        "rates": generated.rates,
        "run": str(run),
        "weights_sha256": weights_sha256,
        "version": __version__,
    }


def _summary(rates: dict[str, float]) -> str:
    names = {"empty": "empty", "truncated": "truncated", "unk": "with <unk>", "duplicate": "duplicates"}
    return ", ".join(f"{rates[key]:.1%} {name}" for key, name in names.items())
