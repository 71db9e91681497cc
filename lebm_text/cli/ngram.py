"""`lebm-text ngram`: Kneser-Ney models without building KenLM, and perplexity with any ARPA or kenlm file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lebm_text.store import check_writable, sha256_file
from lebm_text.text.reading import read_text
from lm_eval.counts import naming
from lm_eval.kenlm import check_memory, estimated_positions
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import train_arpa

from .ngram_score import score
from .options import json_option, ngram_options, output_option, text_argument
from .streams import print_note, print_text

__all__ = ["command"]


@click.group("ngram", no_args_is_help=False)
def command() -> None:
    """Train n-gram language models (interpolated modified Kneser-Ney) and score text with them.

    Models are ARPA files, which kenlm and other tools read. The literal word <unk> is an ordinary word and is
    called <oov> in the file, where <unk> stands for every word that the model does not know.
    """


@command.command("train")
@text_argument("text")
@output_option("The ARPA file to write.", required=True)
@ngram_options
@json_option
def train(text: Path, text_column: str | None, output: Path, as_json: bool, ngram_backend: str, **more: Any) -> None:
    """Estimate a model of TEXT, one sentence a line, and write it as an ARPA file.

    The numbers are those of KenLM's lmplz. Empty lines are sentences too.
    """
    check_writable(output)
    chosen = KneserNeySettings(**more)
    if ngram_backend == "numpy":
        check_memory(estimated_positions(text), chosen.order)
    read = read_text(text, text_column)
    with naming(read.name):
        fallback_orders = train_arpa(read.lines, chosen, output, backend=ngram_backend)
    for n in [] if as_json else fallback_orders:
        print_note(f"warning: the discounts of the {n}-grams are the fallback 0.5, 1, 1.5")
    if not as_json:
        return print_note(f"{output}: order {chosen.order}, from {len(read.lines):,} sentences of {read.name}")
    sha256 = {"text": read.sha256, "model": sha256_file(output) if output.is_file() else None}
    report = {"model": str(output), "order": chosen.order, "n_sentences": len(read.lines)}
    return print_text(json.dumps(report | {"fallback_orders": fallback_orders, "sha256": sha256}))


command.add_command(score)
