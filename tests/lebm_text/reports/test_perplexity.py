"""Perplexities from Python: of a run, a list or a file, and reports of the version before."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import lm_eval
from lebm_text.errors import InputError
from lebm_text.reports import frontier, load, perplexity
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.perplexity import Perplexity, PerplexitySettings

from ...lm_eval.grammar import grammar_sentences

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    directory = tmp_path / "grammar"
    directory.mkdir()
    for seed, (name, n) in enumerate({"train": 400, "valid": 60, "test": 80}.items()):
        lines = "".join(f"{line}\n" for line in grammar_sentences(n, seed))
        (directory / f"{name}.txt").write_text(lines, encoding="utf-8")
    return directory


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


def test_what_does_not_go_together_is_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="need a corpus"):
        perplexity.compute(["a"])
    with pytest.raises(InputError, match="metric must be one of fppl, rppl, got 'ppl'"):
        PerplexitySettings(metric="ppl")
    with pytest.raises(InputError, match="protocol must be default or arae or lebm, got 'other'"):
        frontier.compute(["a"], frontier.FrontierSettings(protocol="other"), corpus=str(corpus))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (None, "samples: expected a list of sentences, got NoneType"),
        (b"bytes", "samples: expected a list of sentences, got one string"),
        (["a", 1], "samples: expected a list of sentences, which are strings; number 2 is 1"),
        (["\ud800"], "samples: line 1 contains half of a surrogate pair"),
        ([], "nothing to score"),
        ("no such file", "cannot read no such file"),
    ],
)
def test_samples_that_are_no_list_of_strings_are_one_line(samples: Any, message: str, corpus: Path) -> None:
    with pytest.raises(InputError, match=message):
        perplexity.compute(samples, PerplexitySettings(lm="kn3"), corpus=str(corpus))


@pytest.mark.parametrize(
    ("name", "value"), [("split", "train"), ("ngram_backend", "x"), ("n", 0), ("judge_seeds", 0), ("seeds", (1, -1))]
)
def test_settings_out_of_range_are_one_line(name: str, value: Any, corpus: Path) -> None:
    with pytest.raises(InputError, match=f"{name.removesuffix('s')}s? must be"):
        perplexity.compute(["a"], PerplexitySettings(lm="kn3", **{name: value}), corpus=str(corpus))


@pytest.mark.parametrize("name", ["fppl-kn5-default-test", "rppl-kn5-default-test", "frontier-kn5-default-test"])
def test_reports_of_version_0_1_0_are_read_and_shown(name: str) -> None:
    report = load(OLD / f"{name}.json")
    assert isinstance(report, (Perplexity, Frontier))
    console = Console(file=io.StringIO(), width=300)
    console.print(report.table())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(row.signature in shown for row in report.results)
    assert "real data" in shown
