"""`lebm-text reconstruct`: sentences to the latent space and back, each next to what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import decoding_options, device_option, json_option
from .sampling import find_run, progress, read_sentences, run_option

__all__ = ["command"]


@click.command("reconstruct")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@run_option
@decoding_options(default="greedy")
@device_option
@json_option
def command(
    file: Path | None,
    run: Path | None,
    decode: str,
    temperature: float,
    top_k: int,
    top_p: float,
    beam_size: int,
    seed: int,
    max_length: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Read sentences, one a line, from FILE or standard input; print each, a tab, and its reconstruction.

    A latent vector is drawn from the posterior of each sentence and decoded. Words outside the vocabulary are
    read as <unk>. An empty line is a sentence without words and gets a line of its own as any other. With
    --json, each line is an object with "input" and "reconstruction".
    """
    run = find_run(run)
    sentences = read_sentences(file)

    from lebm_text.generation.decoding import DecodeSettings
    from lebm_text.model import LatentEBM

    DecodeSettings(decode, temperature, top_k, top_p, beam_size)  # refuses before the model is read
    model = LatentEBM.from_pretrained(run, device=device)
    with progress(len(sentences), "reconstructed", quiet=as_json) as on_progress:
        found = model.reconstruct(
            sentences,
            decode=decode,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            beam_size=beam_size,
            seed=seed,
            max_length=max_length,
            on_progress=on_progress,
        )
    for sentence, reconstruction in zip(sentences, found, strict=True):
        if as_json:
            click.echo(json.dumps({"input": sentence, "reconstruction": reconstruction}))
        else:
            click.echo(f"{sentence}\t{reconstruction}".encode())  # UTF-8, whatever the locale
