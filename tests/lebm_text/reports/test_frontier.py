"""The picture of the frontier: every decoding is named, every judge has a panel, real text has its point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.checks import from_plain
from lebm_text.reports.drawing import hover_texts, picture_formats
from lebm_text.reports.frontier import Frontier, FrontierSettings, Point, RealPoint
from lebm_text.reports.judged import CorpusSplit

pytest.importorskip("matplotlib")


def point(judge: str, fppl: float, rppl: float, temperature: float | None, seed: int = 1) -> Point:
    decode = "greedy" if temperature is None else "sample"
    how: dict[str, Any] = {"decode": decode, "temperature": temperature, "seed": seed, "judge_seed": None}
    return Point(text="samples", judge=judge, **how, fppl=fppl, fppl_ratio=1.0, rppl=rppl, rppl_ratio=1.0)


def _frontier(**points: Any) -> Frontier:
    return Frontier(corpus=CorpusSplit("toy", "test"), results=[], spread=[], sha256={}, versions={}, **points)


def test_points_are_named_and_judges_apart(tmp_path: Path) -> None:
    path = tmp_path / "frontier.svg"
    unnamed = Point(text="samples", judge="lstm", judge_seed=1, fppl=120.0, fppl_ratio=1.2, rppl=150.0, rppl_ratio=1.5)
    frontier = _frontier(
        points=[
            point("kn5", 200.0, 180.0, 1.0),
            point("kn5", 210.0, 182.0, 1.0, seed=2),
            point("kn5", 90.0, 320.0, 0.6),
            point("kn5", 30.0, 900.0, None),
            unnamed,
        ],
        real=[
            RealPoint(judge="kn5", ppl=140.0, ci95=(130.0, 150.0)),
            RealPoint(judge="lstm", judge_seed=1, ppl=100.0, ci95=(90.0, 110.0), rppl_at_n=120.0),
        ],
    )
    figure = frontier.figure()
    figure.savefig(path)
    picture = path.read_text()
    judges = (f"judge: {name} (near real text is good)" for name in ("kn5", "lstm"))
    for text in ("T = 1", "T = 0.6", "greedy", "samples", *judges):
        assert picture.count(f"<!-- {text} -->") == 1
    assert picture.count("<!-- real text -->") == 2
    assert picture.count("<!-- real text, as many sentences -->") == 1
    shown = [text for line in figure.axes[0].lines for text in hover_texts(line)]
    assert shown == ["real text", "greedy", "T = 0.6", "T = 1"]
    marks = [line for axes in figure.axes for line in axes.lines if hover_texts(line)]
    assert [tuple(np.ravel(line.get_xydata())) for line in marks] == [
        *((140, 140), (30, 900), (90, 320), (205, 181)),  # of two seeds their mean
        *((100, 100), (100, 120), (120, 150)),  # as many real sentences have the FPPL of all
    ]
    assert from_plain(Frontier, frontier.to_json()) == frontier


def test_headroom_is_hollow_and_named_no_sampler() -> None:
    above = [
        replace(point("kn5", 80.0, 300.0, temperature), latents=kind)
        for kind in ("posterior", "long")
        for temperature in (1.0, 0.6)
    ]
    real = [RealPoint(judge="kn5", ppl=140.0, ci95=(130.0, 150.0))]
    frontier = _frontier(points=[point("kn5", 90.0, 320.0, 0.6)], headroom=above, real=real)
    (axes,) = frontier.figure().axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and line.get_marker() == "D"]
    assert [hover_texts(line) for line in hollow] == [
        [f"T = {t}, {kind} (no sampler)" for t in (0.6, 1)] for kind in ("z⁺ of training text", "prior chain × 10")
    ]
    legend = axes.get_legend()
    assert legend is not None
    assert all("no sampler" in text.get_text() for text in legend.get_texts())
    assert from_plain(Frontier, frontier.to_json()) == frontier


def test_greedy_decoding_is_a_square_whatever_the_prior() -> None:
    points = [point("kn5", 3.0, 600.0, None), point("kn5", 9.0, 9.5, 1.0)]
    real = [RealPoint(judge="kn5", ppl=140.0, ci95=(130.0, 150.0))]
    frontier = _frontier(points=[replace(each, prior_temperature=0.5) for each in points], real=real)
    (axes,) = frontier.figure().axes
    marks = [line for line in axes.get_lines() if line.get_marker() not in ("None", "*")]
    assert {(float(np.asarray(mark.get_xdata())[0]), mark.get_marker()) for mark in marks} == {(3.0, "s"), (9.0, "o")}


def test_formats_are_those_of_matplotlib() -> None:
    assert {"png", "svg", "pdf"} <= picture_formats()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "frontier-kn5-default-test"),
        ({"device": "cpu", "split": "valid"}, "frontier-kn5-default-valid"),
        ({"n": 50, "temperatures": (1.0, 0.5), "seeds": (1, 2)}, "frontier-kn5-default-test-n50-T1+0.5-seed1+2"),
        ({"greedy": False, "fed": True}, "frontier-kn5-default-test-no-greedy-fed"),
        ({"prior_temperature": 0.25, "lm": "kn3"}, "frontier-kn3-default-test-prior-temperature0.25"),
        ({"judge_seeds": 3, "lm": "lstm"}, "frontier-lstm-default-test-judge-seeds3"),
        ({"lm": "tests.lebm_text.test_plugins:Pairs"}, "frontier-pairs-0.5-default-test"),
    ],
)
def test_reports_of_other_figures_have_other_names(changes: dict[str, Any], name: str) -> None:
    assert FrontierSettings(**changes).file_name("frontier") == name
