"""Curves of several models side by side. Those of one report: `test_frontier.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.reports.frontier import Point
from lebm_text.reports.frontier_figures import draw_points, plot_frontiers

pytest.importorskip("matplotlib")


def test_greedy_decoding_is_a_square_whatever_the_prior() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    common: dict[str, Any] = {
        "text": "samples",
        "judge": "kn5",
        "judge_seed": None,
        "fppl_ratio": 1.0,
        "rppl_ratio": 1.0,
    }
    draw_points(
        axes,
        [
            Point(**common, decode="greedy", fppl=3.0, rppl=600.0, prior_temperature=0.5),
            Point(**common, decode="sample", temperature=1.0, fppl=9.0, rppl=9.5, prior_temperature=0.5),
        ],
    )
    marks = [line for line in axes.get_lines() if line.get_marker() != "None"]
    assert {(float(np.asarray(mark.get_xdata())[0]), mark.get_marker()) for mark in marks} == {(3.0, "s"), (9.0, "o")}


@pytest.mark.pictures
def test_models_lie_close_in_one_panel_and_with_greedy_decoding_in_the_other(tmp_path: Path) -> None:
    path, stem = tmp_path / "frontiers.svg", tmp_path / "frontiers"
    models = {
        "a model": {"T=1": (9.0, 9.5), "T=0.6": (4.0, 11.0), "greedy": (3.0, 600.0)},
        "another": {"T=1": (8.0, 9.7), "T=0.6": (3.5, 12.0)},
    }
    plot_frontiers(models, (6.0, 7.8), stem)
    close, whole = path.read_text().partition("<!-- greedy decoding, too (hollow) -->")[0].split('<g id="axes_2">')
    for name in ("a model", "another", "real text"):
        assert close.count(f"<!-- {name} -->") == 1
    assert "<!-- 500 -->" not in close
    assert "<!-- 500 -->" in whole
    assert "<!-- 12 -->" in close
    assert "<!-- 12 -->" not in whole.partition("<!-- 500 -->")[2]  # over decades the labels would run into each other
