"""`lebm-text ngram score`: perplexity with any ARPA or kenlm file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.text.reading import read_text
from lm_eval.counts import naming
from lm_eval.kenlm import KenlmJudge
from lm_eval.perplexity import perplexity

from .console import strict_json
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

    Tokens are the words and </s>. Unknown words count at the probability of <unk>; the second figure leaves
    them out. JSON knows no infinity: where MODEL holds the text to be impossible, "infinite" is true and the
    figures that this concerns are null.
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
        print_text(json.dumps(strict_json(report), allow_nan=False))
    else:
        low, high = result.ci95
        excluding = "none" if result.ppl_excluding_oov is None else f"{result.ppl_excluding_oov:.4f}"
        print_text(
            f"perplexity       {result.ppl:.4f}  (95 % over sentences: {low:.2f} to {high:.2f})\n"
            f"without unknown  {excluding}\n"
            f"tokens           {result.n_tokens:,} in {result.n_sentences:,} sentences, </s> counted\n"
            f"unknown words    {result.n_oov:,}"
        )
