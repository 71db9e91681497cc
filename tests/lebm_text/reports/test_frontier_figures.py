"""Curves of several models side by side. Those of one report: `test_frontier.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.reports.frontier_figures import plot_frontiers

pytest.importorskip("matplotlib")


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
