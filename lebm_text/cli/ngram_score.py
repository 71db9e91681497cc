"""`lebm-text ngram score`: perplexity with any ARPA or kenlm file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.text.reading import read_text
from lm_eval.counts import naming
from lm_eval.coverage import MANY, UNREAD
from lm_eval.kenlm import KenlmJudge
from lm_eval.perplexity import perplexity

from .console import print_message, strict_json
from .options import INPUT, json_option, text_argument
from .streams import print_text

__all__ = ["score"]

_FIGURES = ("ppl", "ppl_excluding_oov", "ci95", "ci_scope", "nll", "n_sentences", "n_tokens", "n_oov")


@click.command("score")
@click.argument("model", type=INPUT)
@text_argument("text")
@click.option("--per-sentence", is_flag=True, help="A line a sentence: nats, tokens, unknown words, tab between.")
@json_option
def score(model: Path, text: Path, text_column: str | None, per_sentence: bool, as_json: bool) -> None:
    """Perplexity of TEXT, one sentence a line, under MODEL, an ARPA file or a kenlm binary.

    Tokens are the words and </s>. Unknown words count at the probability of <unk>; the second figure leaves them out.
    JSON knows no infinity: if MODEL holds the text to be impossible, "infinite" is true and what it concerns null.
    """
    if per_sentence and as_json:
        raise InputError("--per-sentence prints lines, not JSON; leave out one of the two")
    read, judge = read_text(text, text_column), KenlmJudge(model)
    with naming(read.name):
        scores = judge.score(read.lines)
        result = perplexity(scores)
    unknown = result.n_oov / max(result.n_tokens - result.n_sentences, 1)
    if unknown > MANY:
        print_message("warning", f"{unknown:.1%} of the words are unknown to the model: {UNREAD}")
    if per_sentence:
        for row in zip(scores.nll, scores.n_tokens, scores.n_oov, strict=True):
            print_text("{:.6f}\t{}\t{}".format(*row))
    elif as_json:
        report = {name: getattr(result, name) for name in _FIGURES} | {"order": judge.order, "unknown": unknown}
        report |= {"infinite": not math.isfinite(result.ppl), "sha256": {"text": read.sha256, "model": judge.sha256}}
        print_text(json.dumps(strict_json(report), allow_nan=False))
    else:
        print_text(
            f"perplexity       {result.ppl:.4f}  (95 % over sentences: {result.ci95[0]:.2f} to {result.ci95[1]:.2f})\n"
            f"without unknown  {'none' if (known := result.ppl_excluding_oov) is None else f'{known:.4f}'}\n"
            f"tokens           {result.n_tokens:,} in {result.n_sentences:,} sentences, </s> counted\n"
            f"unknown words    {result.n_oov:,} ({unknown:.1%} of the words)"
        )
