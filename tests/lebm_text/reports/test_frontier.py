"""The picture of the frontier: every decoding is named, every judge has a panel, real text has its point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lebm_text.reports.drawing import picture_formats
from lebm_text.reports.frontier import plot_frontier, plot_frontiers

pytest.importorskip("matplotlib")

REAL: list[dict[str, Any]] = [
    {"judge": "kn5", "judge_seed": None, "ppl": 140.0},
    {"judge": "lstm", "judge_seed": 1, "ppl": 100.0, "rppl_at_n": 120.0},
]


def point(judge: str, fppl: float, rppl: float, **made: Any) -> dict[str, Any]:
    return {"judge": judge, "fppl": fppl, "rppl": rppl, **made}


def test_points_are_named_and_judges_apart(tmp_path: Path) -> None:
    path = tmp_path / "frontier.svg"
    points = [
        point("kn5", 200.0, 180.0, decode="sample", temperature=1.0, seed=1),
        point("kn5", 210.0, 182.0, decode="sample", temperature=1.0, seed=2),
        point("kn5", 90.0, 320.0, decode="sample", temperature=0.6, seed=1),
        point("kn5", 30.0, 900.0, decode="greedy", seed=1),
        point("lstm", 120.0, 150.0),
    ]
    plot_frontier(points, REAL, path)
    picture = path.read_text()
    for text in ("T = 1", "T = 0.6", "greedy", "samples", "judge: kn5", "judge: lstm"):
        assert picture.count(f"<!-- {text} -->") == 1
    assert picture.count("<!-- real text -->") == 2
    assert picture.count("<!-- real text, as many sentences -->") == 1


def test_formats_are_those_of_matplotlib() -> None:
    assert {"png", "svg", "pdf"} <= picture_formats()


def test_models_lie_close_in_one_panel_and_with_greedy_decoding_in_the_other(tmp_path: Path) -> None:
    path = tmp_path / "frontiers.svg"
    models = {
        "a model": {"T=1": (9.0, 9.5), "T=0.6": (4.0, 11.0), "greedy": (3.0, 600.0)},
        "another": {"T=1": (8.0, 9.7), "T=0.6": (3.5, 12.0)},
    }
    plot_frontiers(models, (6.0, 7.8), path)
    close, whole = path.read_text().partition("<!-- greedy decoding, too (hollow) -->")[0].split('<g id="axes_2">')
    for name in ("a model", "another", "real text"):
        assert close.count(f"<!-- {name} -->") == 1
    assert "<!-- 500 -->" not in close
    assert "<!-- 500 -->" in whole
    assert "<!-- 12 -->" in close
    assert "<!-- 12 -->" not in whole.partition("<!-- 500 -->")[2]  # over decades the labels would run into each other
