"""`lebm-text ngram train`: a Kneser-Ney model of a text, as an ARPA file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lebm_text.store import check_writable, sha256_file
from lebm_text.text.reading import read_text
from lm_eval.base import naming
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.lmplz import check_memory, estimated_positions
from lm_eval.ngram import train_arpa

from .options import backend_option, json_option, parse_thresholds

__all__ = ["train"]


@click.command("train")
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="The ARPA file to write.")  # fmt: skip
@click.option("--order", type=click.IntRange(2, 6), default=5, show_default=True, help="Longest n-gram.")
@click.option("--prune", default="", callback=parse_thresholds, metavar="COUNTS", help="Drop n-grams seen at most "
              "this often: a number an order, such as 0,0,1; the last holds above.")  # fmt: skip
@click.option("--vocab-pad", type=click.IntRange(min=0), default=0,
              help="Count this many types, <unk> and </s> included, when unseen words share their mass.")  # fmt: skip
@click.option("--interpolate-unigrams/--no-interpolate-unigrams", default=True, show_default=True,
              help="Share the mass of unseen words among all types, or give it to <unk>.")  # fmt: skip
@click.option("--fallback/--no-fallback", default=True, show_default=True,
              help="Where the counts allow no discounts take 0.5, 1, 1.5 and say so, or fail.")  # fmt: skip
@backend_option
@json_option
def train(text: Path, output: Path, ngram_backend: str, as_json: bool, **settings: Any) -> None:
    """Estimate a model of TEXT, one sentence a line, and write it as an ARPA file.

    The numbers are those of KenLM's lmplz. Empty lines are sentences too.
    """
    chosen = KneserNeySettings(**settings)
    check_writable(output)
    if ngram_backend == "numpy":
        check_memory(estimated_positions(text), chosen.order)
    sentences = read_text(text)
    with naming(str(text)):
        fallback_orders = train_arpa(sentences, chosen, output, backend=ngram_backend)
    sha256 = {"text": sha256_file(text), "model": sha256_file(output)}
    report = {"model": str(output), "order": chosen.order, "n_sentences": len(sentences)}
    if as_json:
        click.echo(json.dumps(report | {"fallback_orders": fallback_orders, "sha256": sha256}))
        return
    for n in fallback_orders:
        click.echo(f"warning: the discounts of the {n}-grams are the fallback 0.5, 1, 1.5", err=True)
    click.echo(f"{output}: order {chosen.order}, from {len(sentences):,} sentences of {text}", err=True)
