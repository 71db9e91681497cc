"""Curves of runs: every panel finds its figures, and a run without metrics is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.reports.curves import PANELS, plot_curves

pytest.importorskip("matplotlib")


def run_with(directory: Path, records: list[dict[str, float]]) -> Path:
    directory.mkdir()
    (directory / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return directory


def test_every_figure_of_every_panel_is_drawn(tmp_path: Path) -> None:
    keys = [key for names, _ in PANELS.values() for key in names]
    records = [{"step": n, "epoch": n / 10, **dict.fromkeys(keys, 1.0 + n)} for n in range(3)]
    full, empty = run_with(tmp_path / "full", records), run_with(tmp_path / "bare", [{"step": 1, "epoch": 1.0}])
    plot_curves({"a": full}, tmp_path / "full.svg")
    plot_curves({"a": empty}, tmp_path / "empty.svg")
    lines = [(tmp_path / name).read_text().count('<g id="line2d_') for name in ("full.svg", "empty.svg")]
    assert lines[0] >= lines[1] + len(keys)


def test_two_runs_are_told_apart_in_the_legend(tmp_path: Path) -> None:
    runs = {name: run_with(tmp_path / name, [{"step": 1, "epoch": 0.5, "gap": 0.1}]) for name in ("one", "two")}
    plot_curves(runs, tmp_path / "both.svg")
    picture = (tmp_path / "both.svg").read_text()
    assert "<!-- one -->" in picture
    assert "<!-- two -->" in picture


def test_a_directory_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl does not exist"):
        plot_curves({"a": tmp_path}, tmp_path / "out.png")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", [{"step": 1, "epoch": 0.5, "gap": 0.1}])
    with pytest.raises(InputError, match="cannot draw"):
        plot_curves({"a": run}, tmp_path / "out.nonsense")
