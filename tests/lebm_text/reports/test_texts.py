"""Several texts in one report: a row each, under its name, with the figures that it has alone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lebm_text.errors import InputError
from lebm_text.reports import embedding, frontier, perplexity
from lebm_text.reports.drawing import hover_texts
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.judging import spreads
from lebm_text.reports.perplexity import PerplexitySettings

from ...lm_eval.grammar import grammar_sentences
from ..cli.conftest import write_grammar

TEXTS: dict[str, list[str]] = {"ours": grammar_sentences(60, 7), "T = 9": grammar_sentences(60, 8)}


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return str(write_grammar(tmp_path / "grammar"))


def shown(report: Any) -> str:
    Console(file=(text := io.StringIO()), width=300).print(report.table())
    return text.getvalue()


def test_each_text_has_its_row_and_the_figures_that_it_has_alone(corpus: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.txt"
    path.write_text("".join(f"{line}\n" for line in grammar_sentences(60, 9)))
    texts: dict[str, Any] = {**TEXTS, "theirs": path}
    report = frontier.compute(texts, corpus=corpus)
    assert [point.text for point in report.points] == ["ours", "T = 9", "theirs"]
    for point, text in zip(report.points, texts.values(), strict=True):
        (alone,) = frontier.compute(text, corpus=corpus).points
        assert (point.fppl, point.rppl) == (alone.fppl, alone.rppl)
    assert {*TEXTS, "theirs"} < set(report.sha256)
    assert Frontier.from_json(report.to_json()) == report
    judged = [line.split("kn5") for line in shown(report).splitlines() if "kn5" in line]
    assert [name.strip() for name, _ in judged][:3] == ["ours", "T = 9", "theirs"]
    assert [figures.split()[0] for _, figures in judged][:3] == [f"{point.fppl:.2f}" for point in report.points]


def test_the_picture_names_texts_and_joins_none_by_a_line(corpus: str, tmp_path: Path) -> None:
    texts = {**TEXTS, "_$x_{$": TEXTS["ours"]}
    figure = frontier.compute(texts, corpus=corpus).figure()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None and [text.get_text().lstrip() for text in legend.get_texts()] == list(texts)
    of_texts = [line for line in axes.lines if set(hover_texts(line)) & {*texts}]
    assert [np.size(line.get_xdata()) for line in of_texts] == [1, 1, 1]
    assert len({line.get_color() for line in of_texts}) == 3
    figure.savefig(tmp_path / "frontier.svg")  # no formula is read between dollar signs


def test_a_table_of_perplexities_and_its_warnings_name_the_text(corpus: str) -> None:
    copied = {"ours": TEXTS["ours"], "copied": TEXTS["ours"][:1] * 60}
    text = shown(perplexity.compute(copied, PerplexitySettings(lm="kn3"), corpus=corpus))
    assert "warning: copied: the FPPL" in text and "\nours: 60 sentences" in text
    assert [line.strip().split("  ")[0] for line in text.splitlines() if " kn3 " in line][:2] == ["ours", "copied"]


def test_seeds_of_a_judge_are_spread_for_each_text(corpus: str) -> None:
    report = perplexity.compute(TEXTS, PerplexitySettings(lm="kn3"), corpus=corpus)
    assert report.spread == []  # each text has one figure, and they are not two seeds of one system
    seeds = [replace(row, judge_seed=seed, ppl=row.ppl + seed) for row in report.results for seed in (1, 3)]
    found = spreads(seeds)
    assert [(row.text, row.ppl.mean) for row in found] == [(row.text, row.ppl + 2) for row in report.results]
    assert "FPPL, ours by kn3: mean" in shown(replace(report, results=seeds, spread=found))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "that reports use") for name in ("samples", "samples,T=1", "train", "test", "weights", "real data")),
        *((name, "not a line") for name in ("a\nb", "", " ", 3)),
        ("a|b", "fields of a signature"),
    ],
)
def test_a_name_that_a_report_could_not_tell_from_its_own_is_refused(name: Any, why: str, corpus: str) -> None:
    with pytest.raises(InputError, match=rf"^one of several texts cannot be called .*{why}.*: rename it$"):
        frontier.compute({name: TEXTS["ours"]}, corpus=corpus)


def test_texts_of_unequal_length_are_refused_with_the_way_round(corpus: str) -> None:
    unequal = {"ours": TEXTS["ours"], "few": TEXTS["T = 9"][:20]}
    with pytest.raises(InputError, match=r"^few has no sentences$"):
        frontier.compute({**TEXTS, "few": []}, corpus=corpus)
    with pytest.raises(InputError, match=r"^few has 20 sentences and ours 60, but RPPL .*: -n 20 takes as many"):
        frontier.compute(unequal, corpus=corpus)
    report = perplexity.compute(unequal, PerplexitySettings(n=20, lm="kn3"), corpus=corpus)
    assert [row.n_sentences for row in report.results] == [20, 20]


@pytest.mark.parametrize("kind", [frontier, perplexity, embedding])
def test_no_text_at_all_is_refused(kind: Any, corpus: str) -> None:
    with pytest.raises(InputError, match=r"^no samples are given$"):
        kind.compute({}, corpus=corpus)


def test_a_fault_names_the_text(corpus: str) -> None:
    with pytest.raises(InputError, match=r"^ours: "):
        frontier.compute({**TEXTS, "ours": ["a line\nend"] * 60}, corpus=corpus)
    with pytest.raises(InputError, match=r"^a text column is a field of a file"):
        frontier.compute(TEXTS, frontier.FrontierSettings(text_column="text"), corpus=corpus)
