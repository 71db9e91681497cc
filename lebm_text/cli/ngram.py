"""`lebm-text ngram`: Kneser-Ney models without building KenLM, and perplexity with any ARPA or kenlm file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError
from lebm_text.store import check_writable, sha256_file

from .judging import check_judges, read_text
from .options import backend_option, json_option

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
F = TypeVar("F", bound=Callable[..., Any])


@click.group("ngram", no_args_is_help=False)
def command() -> None:
    """Train n-gram language models (interpolated modified Kneser-Ney) and score text with them.

    Models are ARPA files, which kenlm and other tools read. The literal word <unk> is an ordinary word and is
    called <oov> in the file, where <unk> stands for every word that the model does not know.
    """


def _thresholds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.replace(",", " ").split())
    except ValueError:
        raise click.BadParameter(f"wants whole numbers such as 0,0,1, got {value!r}") from None


@command.command()
@click.argument("text", type=_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The ARPA file to write.",
)
@click.option("--order", type=click.IntRange(2, 6), default=5, show_default=True, help="Longest n-gram.")
@click.option(
    "--prune",
    default="",
    callback=_thresholds,
    metavar="COUNTS",
    help="Drop n-grams seen at most this often: a number an order, such as 0,0,1; the last holds above.",
)
@click.option(
    "--vocab-pad",
    type=click.IntRange(min=0),
    default=0,
    help="Count this many types, <unk> and </s> included, when unseen words share their mass.",
)
@click.option(
    "--interpolate-unigrams/--no-interpolate-unigrams",
    default=True,
    show_default=True,
    help="Share the mass of unseen words among all types, or give it to <unk>.",
)
@click.option(
    "--fallback/--no-fallback",
    default=True,
    show_default=True,
    help="Where the counts allow no discounts take 0.5, 1, 1.5 and say so, or fail.",
)
@backend_option
@json_option
def train(
    text: Path,
    output: Path,
    order: int,
    prune: tuple[int, ...],
    vocab_pad: int,
    interpolate_unigrams: bool,
    fallback: bool,
    ngram_backend: str,
    as_json: bool,
) -> None:
    """Estimate a model of TEXT, one sentence a line, and write it as an ARPA file.

    The numbers are those of KenLM's lmplz. Empty lines are sentences too.
    """
    check_judges()
    from lm_eval.base import naming
    from lm_eval.kneser_ney import KneserNeySettings
    from lm_eval.lmplz import check_memory, estimated_positions
    from lm_eval.ngram import train_arpa

    settings = KneserNeySettings(order, prune, vocab_pad, interpolate_unigrams, fallback)
    check_writable(output)
    if ngram_backend == "numpy":
        check_memory(estimated_positions(text), order)
    sentences = read_text(text)
    with naming(str(text)):
        fallback_orders = train_arpa(sentences, settings, output, backend=ngram_backend)
    report = {
        "model": str(output),
        "order": order,
        "n_sentences": len(sentences),
        "fallback_orders": fallback_orders,
        "sha256": {"text": sha256_file(text), "model": sha256_file(output)},
    }
    if as_json:
        click.echo(json.dumps(report))
        return
    for n in fallback_orders:
        click.echo(f"warning: the discounts of the {n}-grams are the fallback 0.5, 1, 1.5", err=True)
    click.echo(f"{output}: order {order}, from {len(sentences):,} sentences of {text}", err=True)


@command.command()
@click.argument("model", type=_FILE)
@click.argument("text", type=_FILE)
@click.option("--per-sentence", is_flag=True, help="A line a sentence: nats, tokens, unknown words, tab between.")
@json_option
def score(model: Path, text: Path, per_sentence: bool, as_json: bool) -> None:
    """Perplexity of TEXT, one sentence a line, under MODEL, an ARPA file or a kenlm binary.

    Tokens are the words and </s>. Unknown words count at the probability of <unk>; the second figure leaves
    them out. JSON knows no infinity: where MODEL holds the text to be impossible, "infinite" is true and the
    figures that this concerns are null.
    """
    check_judges()
    from lm_eval.base import naming
    from lm_eval.ngram import KenlmJudge
    from lm_eval.perplexity import perplexity

    if per_sentence and as_json:
        raise InputError("--per-sentence prints lines, not JSON; leave out one of the two")
    sentences, judge = read_text(text), KenlmJudge(model)
    with naming(str(text)):
        scores = judge.score(sentences)
        result = perplexity(scores)
    if per_sentence:
        for nll, n_tokens, n_oov in zip(scores.nll, scores.n_tokens, scores.n_oov, strict=True):
            click.echo(f"{nll:.6f}\t{n_tokens}\t{n_oov}")
        return
    if as_json:
        report = {
            "ppl": _finite(result.ppl),
            "ppl_excluding_oov": _finite(result.ppl_excluding_oov),
            "ci95": [_finite(end) for end in result.ci95],
            "ci_scope": result.ci_scope,
            "nll": _finite(result.nll),
            "infinite": not math.isfinite(result.ppl),
            "n_sentences": result.n_sentences,
            "n_tokens": result.n_tokens,
            "n_oov": result.n_oov,
            "order": judge.order,
            "sha256": {"text": sha256_file(text), "model": sha256_file(model)},
        }
        click.echo(json.dumps(report, allow_nan=False))
        return
    low, high = result.ci95
    excluding = "none" if result.ppl_excluding_oov is None else f"{result.ppl_excluding_oov:.4f}"
    click.echo(f"perplexity       {result.ppl:.4f}  (95 % over sentences: {low:.2f} to {high:.2f})")
    click.echo(f"without unknown  {excluding}")
    click.echo(f"tokens           {result.n_tokens:,} in {result.n_sentences:,} sentences, </s> counted")
    click.echo(f"unknown words    {result.n_oov:,}")


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
