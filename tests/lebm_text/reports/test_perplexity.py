"""Perplexities from Python: of a run, a list or a file, and reports of the version before."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import lm_eval
from lebm_text.errors import InputError
from lebm_text.processes import ALONE
from lebm_text.progress import silent
from lebm_text.reports import frontier, load, perplexity
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.judged import CorpusSplit
from lebm_text.reports.judging import Judging, spreads
from lebm_text.reports.perplexity import Perplexity, PerplexitySettings
from lm_eval.diversity import length_distance
from lm_eval.judges import KneserNeySpec
from lm_eval.protocol import Evaluator, JudgeResult
from lm_eval.texts import RealText, Reference, Samples, calibration_texts

from ...lm_eval.grammar import grammar_sentences
from ..cli.conftest import write_grammar

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_grammar(tmp_path / "grammar")


def test_lists_and_files_are_judged_alike(corpus: Path) -> None:
    settings = PerplexitySettings(metric="rppl", lm="kn3")
    file = corpus / "valid.txt"
    lines = file.read_text().splitlines()
    calls: list[tuple[str, int, int]] = []
    listed = perplexity.compute(lines, settings, lambda *call: calls.append(call), corpus=str(corpus))
    read = perplexity.compute(file, settings, corpus=str(corpus))
    (one,), (other,) = listed.results, read.results
    assert dataclasses.replace(one, samples=other.samples) == other
    assert (one.samples.path, other.samples.path) == (None, str(file))
    assert listed.sha256 == read.sha256
    assert calls == [("judgements", 0, 1), ("judgements", 1, 1)]
    train, test = ((corpus / f"{name}.txt").read_text().splitlines() for name in ("train", "test"))
    score = lm_eval.rppl(lines, test, "kn3", vocabulary=lm_eval.closed_vocabulary(train))
    assert (one.ppl, one.ci95, one.n_oov) == (score.ppl, score.ci95, score.n_oov)
    assert Perplexity.from_json(listed.to_json()) == listed


def _sentences(corpus: Path, split: str) -> list[str]:
    return (corpus / f"{split}.txt").read_text().splitlines()


def _evaluator(corpus: Path) -> Evaluator:
    real = RealText("grammar", _sentences(corpus, "train"), "test", _sentences(corpus, "test"))
    return Evaluator(Reference(real), KneserNeySpec(3))


def test_every_figure_of_a_frontier_is_its_judges(corpus: Path) -> None:
    samples = _sentences(corpus, "valid")
    report = frontier.compute(samples, frontier.FrontierSettings(lm="kn3"), corpus=str(corpus))
    forward, reverse = _evaluator(corpus).fppl(Samples(samples)), _evaluator(corpus).rppl(Samples(samples))
    (point,), (real,) = report.points, report.real
    assert (point.fppl, point.fppl_ratio, point.rppl, point.rppl_ratio) == (
        forward.ppl,
        forward.ppl / forward.real_ppl,
        reverse.ppl,
        reverse.ppl / reverse.real_ppl,
    )
    assert (real.ppl, real.ci95) == (forward.real_ppl, forward.real_ci95)
    assert real.rppl_at_n == reverse.extra["real_ppl_at_n"]
    assert [row.metric for row in report.results] == ["fppl", "rppl"]
    assert report.spread == []


def test_every_figure_of_a_perplexity_is_its_judges(corpus: Path) -> None:
    """Of the samples, of what they and real text look like, and of texts of known quality, each as many sentences."""
    samples, train, test = _sentences(corpus, "valid"), _sentences(corpus, "train"), _sentences(corpus, "test")
    settings = PerplexitySettings(metric="rppl", lm="kn3", calibrate=True)
    report = perplexity.compute(samples, settings, corpus=str(corpus))
    (row,) = report.results
    expected = _evaluator(corpus).rppl(Samples(samples))
    for field in dataclasses.fields(expected):
        if field.name != "signature":  # of the corpus by its name, with the version
            assert getattr(row, field.name) == getattr(expected, field.name), field.name
    looks = {"samples": samples, "real": test, "train": train}
    for name, text in looks.items():
        lengths, found = [len(line.split()) for line in text], getattr(row, name)
        assert found.n_sentences == len(text)
        assert found.mean_length == pytest.approx(sum(lengths) / len(text))
        assert found.length_quantiles == pytest.approx(np.quantile(lengths, (0.05, 0.25, 0.5, 0.75, 0.95)))
        assert found.duplicate_rate == pytest.approx(1 - len(set(text)) / len(text))
        assert found.in_train_rate == pytest.approx(sum(line in train for line in text) / len(text))
    assert row.samples.length_distance == length_distance(samples, train) > 0
    known = dict(calibration_texts(train, len(samples), 1))
    assert [each.text for each in report.calibration] == list(known)
    for each in report.calibration:
        result = _evaluator(corpus).rppl(Samples(known[each.text]))
        assert (each.ppl, each.ratio) == (result.ppl, result.ppl / result.real_ppl)


class _Judge:
    """An evaluator that says its own name and how many sentences it was given."""

    def __init__(self, name: str, result: JudgeResult) -> None:
        self.spec = SimpleNamespace(cheap=name == "kn5", seed=None if name == "kn5" else int(name[-1]))
        self.name, self.result = name, result

    def fppl(self, text: Samples) -> JudgeResult:
        return dataclasses.replace(self.result, judge=self.name, ppl=float(len(text.sentences)))

    rppl = fppl


@pytest.mark.parametrize(
    ("metric", "judges", "asked"),
    [
        ("fppl", ("kn5", "lstm 1", "lstm 2"), ["kn5", "lstm 1"]),
        ("rppl", ("kn5", "lstm 1", "lstm 2"), ["kn5"]),
        ("rppl", ("lstm 1", "lstm 2"), ["lstm 1"]),
    ],
)
def test_texts_of_known_quality_are_judged_once_and_where_a_judge_is_trained_by_the_quick_one(
    metric: str, judges: tuple[str, ...], asked: list[str], corpus: Path
) -> None:
    result = _evaluator(corpus).fppl(Samples(["the noun1.0"]))
    evaluators = [_Judge(name, result) for name in judges]
    real, texts = RealText("grammar", grammar_sentences(50, 1), "test", []), [SimpleNamespace(sentences=["a"] * 7)]
    judging: Any = Judging(1, CorpusSplit("grammar", "test"), real, texts, evaluators, {}, ALONE, silent)  # type: ignore[arg-type]
    known = perplexity._calibrate(judging, metric)
    assert [each.judge for each in known[: len(asked)]] == asked
    assert {each.judge for each in known} == set(asked)
    assert {each.ppl for each in known} == {7.0}
    assert [each.text for each in known[:: len(asked)]] == list(dict(calibration_texts(real.train, 7, 1)))


def test_the_first_seed_is_that_of_the_bootstrap() -> None:
    assert (PerplexitySettings(seeds=(3, 4)).seed, PerplexitySettings().seed) == (3, 1)


def test_the_spread_is_over_seeds_of_samples_and_of_judges(corpus: Path) -> None:
    """By metric, judge and decoding; of real text over judges alone; a figure with one seed has none."""
    samples = _sentences(corpus, "valid")
    (row,) = perplexity.compute(samples, PerplexitySettings(lm="kn3"), corpus=str(corpus)).results
    rows = [
        dataclasses.replace(
            row,
            decode=decode,
            temperature=temperature,
            seed=seed,
            judge_seed=judge,
            ppl=ppl,
            ratio=ppl / 2,
            real_ppl=10.0 + judge,
        )
        for decode, temperature, seed, judge, ppl in (
            ("sample", 1.0, 1, 1, 9.0),
            ("sample", 1.0, 1, 2, 11.0),
            ("sample", 1.0, 2, 1, 12.0),
            ("sample", 1.0, 2, 2, 16.0),
            ("sample", 0.5, 1, 1, 5.0),
            ("greedy", None, 1, 1, 3.0),
        )
    ]
    (found,) = spreads(rows)
    assert (found.metric, found.judge, found.decode, found.temperature) == ("fppl", "kn3", "sample", 1.0)
    assert dataclasses.astuple(found.ppl) == pytest.approx((12.0, 5**0.5, 8**0.5, 2, 2))
    assert dataclasses.astuple(found.ratio) == pytest.approx((6.0, 1.25**0.5, 2**0.5, 2, 2))
    real = found.real_ppl
    assert (real.mean, real.sd_over_judge_seeds, real.n_judge_seeds) == pytest.approx((11.5, 0.5**0.5, 2))
    assert (real.sd_over_sample_seeds, real.n_sample_seeds) == (None, 1)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="need a corpus"):
        perplexity.compute(["a"])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (None, "samples: expected a list of sentences, got NoneType"),
        (b"bytes", "samples: expected a list of sentences, got one string"),
        (["a", 1], "samples: expected a list of sentences, which are strings; number 2 is 1"),
        (["\ud800"], "samples: number 1 of the sentences contains half of a surrogate pair"),
        ([], "nothing to score"),
        ("no such file", "cannot read no such file"),
    ],
)
def test_samples_that_are_no_list_of_strings_are_one_line(samples: Any, message: str, corpus: Path) -> None:
    with pytest.raises(InputError, match=message):
        perplexity.compute(samples, PerplexitySettings(lm="kn3"), corpus=str(corpus))


@pytest.mark.parametrize("name", ["fppl-kn5-default-test", "rppl-kn5-default-test", "frontier-kn5-default-test"])
def test_reports_of_version_0_1_0_are_read_and_shown(name: str) -> None:
    report = load(OLD / f"{name}.json")
    assert isinstance(report, (Perplexity, Frontier))
    console = Console(file=io.StringIO(), width=300)
    console.print(report.table())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert not any(row.signature in shown for row in report.results)
    assert {row.signature for row in report.results} <= set(report.sources())
    assert "real data" in shown
