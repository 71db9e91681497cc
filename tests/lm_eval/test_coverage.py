"""Text that a judge cannot read is told, whatever its perplexity: another format, case, tokenisation or script."""

from __future__ import annotations

import json
from collections.abc import Callable
from zlib import crc32

import numpy as np
import pytest

import lm_eval
from lm_eval.coverage import Coverage, coverage_warnings, expected_coverage
from lm_eval.lists import TextScore
from lm_eval.ngram import NgramModel
from lm_eval.protocol import Evaluator, JudgeResult
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples

from .everyday import everyday_sentences, glued

TRAIN, TEST = everyday_sentences(2000, 1), everyday_sentences(500, 2)
WRAPPED: dict[str, Callable[[str], str]] = {
    "JSON lines": lambda line: json.dumps({"text": line}),
    "quoted for CSV": lambda line: '"{}"'.format(line.replace('"', '""')),
    "capitals, punctuation glued to words": glued,
    "words joined": lambda line: line.replace(" ", ""),
    "words joined by no-break spaces": lambda line: line.replace(" ", "\xa0"),
    "upper case": str.upper,
    "numbered": lambda line: "\t".join(f"{number}:{word}" for number, word in enumerate(line.split())),
    "non-words": lambda line: " ".join([*(f"qz{crc32(f'{line}{i}'.encode()) % 10**6}" for i in range(8)), "."]),
}


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Reference(RealText("everyday", TRAIN, "test", TEST)))


def unread(result: JudgeResult | TextScore) -> list[str]:
    return [warning for warning in result.warnings if "<unk>" in warning]


@pytest.mark.parametrize("name", WRAPPED)
def test_text_that_the_judge_cannot_read_is_warned_of(name: str, evaluator: Evaluator) -> None:
    samples = list(map(WRAPPED[name], TRAIN[:1000]))
    for result in (evaluator.fppl(Samples(samples)), evaluator.rppl(Samples(samples))):
        assert unread(result) == [result.warnings[0]]
        assert result.coverage is not None
        assert result.coverage.outside > 0.15
    assert len(unread(lm_eval.fppl(samples, TRAIN))) == 1
    assert len(unread(lm_eval.rppl(samples, TEST, vocabulary=lm_eval.closed_vocabulary(TRAIN)))) == 1
    assert len(unread(lm_eval.rppl(samples, TEST))) == 1


@pytest.mark.parametrize("name", ["other real text", "training text", "5-gram samples", "2-gram samples"])
def test_text_like_the_corpus_is_not(name: str, evaluator: Evaluator) -> None:
    samples = {
        "other real text": everyday_sentences(1000, 3),
        "training text": TRAIN[:1000],
        "5-gram samples": NgramModel.train(TRAIN).sample(1000, np.random.default_rng(1)),
        "2-gram samples": NgramModel.train(TRAIN, 2).sample(1000, np.random.default_rng(1)),
    }[name]
    assert unread(evaluator.fppl(Samples(samples))) == unread(evaluator.rppl(Samples(samples))) == []
    assert unread(lm_eval.fppl(samples, TRAIN)) == unread(lm_eval.rppl(samples, TEST)) == []


def test_an_open_vocabulary_is_warned_of_likewise() -> None:
    arae = Evaluator(Reference(RealText("everyday", TRAIN, "test", TEST), CONVENTIONS["arae"]))
    assert "read as <unk>" in arae.fppl(Samples(list(map(glued, TRAIN[:500])))).warnings[0]
    assert unread(arae.fppl(Samples(everyday_sentences(500, 3)))) == []


def test_text_without_blanks_is_told_by_name_and_with_its_cure() -> None:
    """Every sentence is one unknown word; of the real text, too, the perplexity is exactly 1."""
    real = [f"昨日は{'雨雪晴風'[i % 4]}が{i}時まで降りました。" for i in range(200)]
    score = lm_eval.fppl([line[1:] for line in real], real)
    assert score.ppl == pytest.approx(1.0, abs=0.02)
    (warning,) = unread(score)
    for part in ("the real text are a single word", "no blanks", "no perplexity says anything", "--tokenize"):
        assert part in warning
    (warning,) = unread(lm_eval.fppl(real, TRAIN))
    for part in ("100.0% of the sentences of the samples are a single word", "no blanks", "--tokenize"):
        assert part in warning


def test_written_unk_counts_by_itself() -> None:
    """A generator may write `<unk>` as often as its training text does; far more often is another warning."""
    coverage = Coverage.of(["a <unk> b c", "<oov> d", "e", ""], {"a", "b", "<unk>"})
    assert coverage == Coverage(n_sentences=4, n_words=7, n_outside=3, n_unk=2, n_alone=1, n_empty=1)
    assert (coverage.outside, coverage.unknown, coverage.alone) == (3 / 7, 5 / 7, 1 / 4)
    real = Coverage(100, 1000, 0, 100, 0)
    (warning,) = coverage_warnings(Coverage(100, 1000, 0, 100, 0, 50), real)
    assert "50.0% of the samples are empty lines" in warning
    assert coverage_warnings(Coverage(100, 1000, 0, 100, 0, 5), real) == []
    assert coverage_warnings(Coverage(100, 1000, 0, 120, 0), real) == []
    assert coverage_warnings(Coverage(100, 1000, 120, 0, 0), real) == []  # the judge reads both alike
    (warning,) = coverage_warnings(Coverage(100, 1000, 0, 500, 0), real)
    assert "50.0% of the samples' words are <unk> as they are written, of the real text's 10.0%" in warning


@pytest.mark.parametrize(
    ("n_samples", "n_real", "warned"),
    [(50, 0, False), (51, 0, True), (150, 100, False), (151, 100, True), (299, 200, False), (301, 200, True)],
)
def test_the_rule_is_5_points_and_one_and_a_half_times(n_samples: int, n_real: int, warned: bool) -> None:
    samples, real = (Coverage(100, 1000, n, 0, 0) for n in (n_samples, n_real))
    assert bool(coverage_warnings(samples, real)) is warned


def test_real_text_that_is_mostly_unknown_is_told() -> None:
    samples = Coverage(100, 1000, 600, 0, 0)
    assert coverage_warnings(samples, Coverage(100, 1000, 500, 0, 0)) == []
    (warning,) = coverage_warnings(samples, Coverage(100, 1000, 501, 0, 0))
    assert "50.1% of the real text's own words" in warning


def test_new_text_is_expected_to_be_known_as_little_as_the_held_out_text() -> None:
    held_out = Coverage.of(TEST, frozenset(lm_eval.closed_vocabulary(TRAIN))).outside
    assert 0.01 < held_out < 0.1
    assert expected_coverage(TRAIN, least=2).outside == pytest.approx(held_out, rel=0.2)


def test_a_text_without_words_is_covered() -> None:
    empty = Coverage.of(["", ""], {"a"})
    assert (empty.outside, empty.unknown, empty.alone) == (0, 0, 0)
    (warning,) = coverage_warnings(empty, empty)
    assert "100.0% of the samples are empty lines" in warning
