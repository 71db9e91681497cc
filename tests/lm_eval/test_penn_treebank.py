"""lmplz's models of the Penn Treebank, where that text is at hand: $LEBM_TEXT_DATA/ptb."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ngram import compare
from lebm_text.text.reading import read_lines
from lm_eval.kenlm import KenlmJudge, write_arpa
from lm_eval.kneser_ney import BackoffModel, KneserNeySettings
from lm_eval.ngram import BACKENDS, NgramModel, train_arpa, train_judge
from lm_eval.perplexity import perplexity

from .reference import PTB, needs_lmplz, settings_of

# Read while tests are collected: they themselves run without the user's settings.
DIRECTORY = Path(os.environ.get("LEBM_TEXT_DATA") or "absent") / "ptb"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DIRECTORY.is_dir(), reason="needs the Penn Treebank in $LEBM_TEXT_DATA/ptb"),
]


@cache
def lines_of(split: str) -> list[str]:
    return list(read_lines(DIRECTORY / f"{split}.txt"))


def stored(model: BackoffModel, ids: list[int]) -> tuple[float, float]:
    """log10 probability and back-off of the n-gram of these word ids."""
    number = ids[0]
    for table, word in zip(model.tables[1:], ids[1:], strict=False):
        children = slice(*table.prefix.searchsorted([number, number + 1]))
        number = children.start + int(table.word[children].searchsorted(word))
        assert table.word[number] == word
    table = model.tables[len(ids) - 1]
    return float(table.log_prob[number]), float(table.log_backoff[number])


@pytest.mark.parametrize("reference", PTB, ids=lambda r: f"{r['n_lines']}-{r['order']}{r['options']}")
def test_agrees_with_lmplz(reference: dict[str, Any]) -> None:
    model = NgramModel.train(lines_of("train")[: reference["n_lines"]], settings_of(reference))
    assert [len(table) for table in model.tables] == reference["ngram_counts"]
    for discounts, expected in zip(model.discounts, reference["discounts"], strict=True):
        assert discounts.values == pytest.approx(expected, abs=1e-12)
    for ids, log_prob, log_backoff in reference["ngrams"]:
        assert stored(model, ids) == pytest.approx((log_prob, log_backoff), abs=1e-6)
    for split, expected in reference["ppl"].items():
        score = perplexity(model.score(lines_of(split)))
        assert score.ppl == pytest.approx(expected, rel=1e-6)
        assert score.n_oov == reference["oov"][split]


def test_kenlm_reads_the_same_perplexity(tmp_path: Path) -> None:
    reference = next(reference for reference in PTB if reference["order"] == 5)
    write_arpa(NgramModel.train(lines_of("train"), settings_of(reference)), tmp_path / "ptb.arpa")
    score = perplexity(KenlmJudge(tmp_path / "ptb.arpa").score(lines_of("test")))
    assert score.ppl == pytest.approx(141.1862071, rel=1e-6)
    assert (score.n_tokens, score.n_sentences) == (82430, 3761)


@needs_lmplz
@pytest.mark.parametrize(
    "options",
    [*map(KneserNeySettings, (2, 3, 4, 5)), KneserNeySettings(3, (0, 0, 1)), KneserNeySettings(5, (0, 1), 50_000)],
    ids=str,
)
def test_every_entry_is_that_of_lmplz(options: KneserNeySettings, tmp_path: Path) -> None:
    for backend in BACKENDS:
        assert train_arpa(lines_of("train"), options, tmp_path / backend, backend=backend) == []
    difference, n_ngrams = compare(*(tmp_path / backend for backend in BACKENDS))
    assert difference < 1e-5
    assert n_ngrams > 150_000


@needs_lmplz
def test_lmplz_s_judge_reads_the_same_perplexity() -> None:
    judge, _ = train_judge(lines_of("train"), KneserNeySettings(order=5), backend="lmplz")
    assert perplexity(judge.score(lines_of("test"))).ppl == pytest.approx(141.1862071, rel=1e-6)
