"""`lebm-text ngram`: train Kneser-Ney models, and compute perplexities with any ARPA or KenLM binary file."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.reports.base import format_interval
from lebm_text.store import check_ending, check_writable, sha256_file
from lebm_text.text.reading import read_text
from lm_eval.counts import naming
from lm_eval.kenlm import KenlmJudge, check_memory, estimated_positions
from lm_eval.kneser_ney import MAX_ORDER, MIN_ORDER, KneserNeySettings
from lm_eval.ngram import BACKENDS, train_arpa
from lm_eval.perplexity import perplexity

from .options import INPUT, field_option, json_option, output_option, text_argument, whole
from .parameters import Group
from .streams import print_json, print_note, print_text

__all__ = ["command"]

_FIGURES = ("ppl", "ppl_excluding_oov", "ci95", "ci_scope", "nll", "n_sentences", "n_tokens", "n_oov")


def _parse_thresholds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Callback: parse whole numbers such as `0,0,1`."""
    try:
        return tuple(int(part) for part in re.findall(r"[^,\s]+", value))
    except ValueError:
        raise click.BadParameter(f"wants whole numbers such as 0,0,1, got {value!r}") from None


@click.group("ngram", cls=Group, no_args_is_help=False)
def command() -> None:
    """Train n-gram language models (interpolated modified Kneser-Ney) and score text with them.

    Models are ARPA files, which KenLM and other tools read. If the text contains <unk> as a word, it is an ordinary
    word and is written as <oov>; in the file, <unk> stands for all words that the model does not know.
    """


@command.command("train")
@text_argument("text")
@output_option("The ARPA file to write.", required=True)
@field_option(KneserNeySettings, "order", type=whole(MIN_ORDER, MAX_ORDER), help="Length of the longest n-grams.")
@click.option("--prune", default="", show_default=False, callback=_parse_thresholds, metavar="COUNTS",
              help="Drop n-grams with at most this count: one number per order, such as 0,0,1; "
              "the last also holds for higher orders.")  # fmt: skip
@field_option(KneserNeySettings, "vocab_pad", type=whole(0),
              help="Share the mass of unseen words among at least this many types, <unk> and </s> "
              "included.")  # fmt: skip
@field_option(KneserNeySettings, "interpolate_unigrams", "--interpolate-unigrams/--no-interpolate-unigrams",
              help="Share the mass of unseen words among all types, or give it to <unk>.")  # fmt: skip
@field_option(KneserNeySettings, "fallback", "--fallback/--no-fallback",
              help="If discounts cannot be estimated from the counts, use 0.5, 1, 1.5 with a warning, or "
              "fail.")  # fmt: skip
@click.option("--ngram-backend", type=click.Choice(BACKENDS), default=BACKENDS[0],
              help="Estimate with numpy, or with KenLM's lmplz from PATH (for texts larger than "
              "memory).")  # fmt: skip
@json_option
def train(text: Path, text_column: str | None, output: Path, as_json: bool, ngram_backend: str, **more: Any) -> None:
    """Estimate an n-gram model of TEXT, one sentence per line, and write it as an ARPA file.

    The probabilities equal those of KenLM's lmplz. Empty lines count as sentences.
    """
    check_ending(output, "the model is ARPA", ".arpa", compressed=True)
    check_writable(output)
    chosen = KneserNeySettings(**more)
    if ngram_backend == "numpy":
        check_memory(estimated_positions(text), chosen.order)
    read = read_text(text, text_column)
    with naming(read.name):
        fallback_orders = train_arpa(read.lines, chosen, output, backend=ngram_backend)
    if as_json:
        sha256 = {"text": read.sha256, "model": sha256_file(output) if output.is_file() else None}
        report = {"model": str(output), "order": chosen.order, "n_sentences": len(read.lines)}
        return print_json(report | {"fallback_orders": fallback_orders, "sha256": sha256})
    for n in fallback_orders:
        print_note(f"warning: the discounts of the {n}-grams are the fallback 0.5, 1, 1.5")
    return print_note(f"{output}: order {chosen.order}, from {len(read.lines):,} sentences of {read.name}")


@command.command("score")
@click.argument("model", type=INPUT)
@text_argument("text")
@click.option("--per-sentence", is_flag=True, help="Print a line per sentence: nats, tokens, unknown words, with tabs.")
@json_option
def score(model: Path, text: Path, text_column: str | None, per_sentence: bool, as_json: bool) -> None:
    """Compute the perplexity of TEXT, one sentence per line, under MODEL, an ARPA file or a KenLM binary.

    Tokens are the words and </s>. Unknown words have the probability of <unk>; the second figure excludes them. JSON
    has no infinity: if TEXT has probability 0 under MODEL, "infinite" is true and the infinite figures are null.
    """
    if per_sentence and as_json:
        raise InputError("--per-sentence prints lines, not JSON; leave out one of the two")
    read, judge = read_text(text, text_column), KenlmJudge(model)
    with naming(read.name):
        scores = judge.score(read.lines)
        result = perplexity(scores)
    if per_sentence:
        for nll, n_tokens, n_oov in zip(scores.nll, scores.n_tokens, scores.n_oov, strict=True):
            print_text(f"{nll:.6f}\t{n_tokens}\t{n_oov}")
    elif as_json:
        report = {name: getattr(result, name) for name in _FIGURES}
        report |= {"infinite": not math.isfinite(result.ppl), "order": judge.order}
        report["sha256"] = {"text": read.sha256, "model": judge.sha256}
        print_json(report)
    else:
        excluding = "none" if result.ppl_excluding_oov is None else f"{result.ppl_excluding_oov:.4f}"
        print_text(
            f"perplexity       {result.ppl:.4f}  (95 % over sentences: {format_interval(*result.ci95)})\n"
            f"without unknown  {excluding}\n"
            f"tokens           {result.n_tokens:,} in {result.n_sentences:,} sentences, </s> counted\n"
            f"unknown words    {result.n_oov:,}"
        )
