"""Curves of runs: every panel finds its figures, and a run without metrics is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from lebm_text.errors import InputError
from lebm_text.reports.curves import PANELS, Curves, compute, draw
from lebm_text.run import Run

pytest.importorskip("matplotlib")


def run_with(directory: Path, records: list[dict[str, float]]) -> Path:
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return directory


def test_every_figure_of_every_panel_is_drawn(tmp_path: Path) -> None:
    keys = [key for panel in PANELS for key in panel.keys]
    records = [{"step": n, "epoch": n / 10, **dict.fromkeys(keys, 1.0 + n)} for n in range(3)]
    figure = compute([Run(run_with(tmp_path / "full", records))]).figure()
    assert figure is not None
    lines = [line for axes in figure.axes for line in axes.get_lines() if len(np.asarray(line.get_xydata())) == 3]
    assert len(lines) == len(keys)
    assert all(np.asarray(line.get_xydata()).tolist() == [[0.0, 1.0], [0.1, 2.0], [0.2, 3.0]] for line in lines)


def test_what_has_no_figures_or_stays_where_it_was_has_no_panel(tmp_path: Path) -> None:
    records = [{"step": n, "epoch": n / 10, "gap": 0.0, "kl_weight": 1.0, "std_ratio": 1.0} for n in range(3)]
    figure = compute([Run(run_with(tmp_path / "run", records))]).figure()
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["std(z⁺) / std(z⁻)"]
    assert compute([Run(run_with(tmp_path / "bare", [{"step": 1, "epoch": 1.0}]))]).figure() is None


def test_only_numbers_that_can_be_drawn_are_points(tmp_path: Path) -> None:
    large = 10**400
    records = [(1, 0.5), (2, large), (3, float("nan")), (large, 1.0), (float("inf"), 1.0)]
    run = run_with(tmp_path / "run", [{"step": 1, "epoch": epoch, "gap": gap} for epoch, gap in records])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "epoch": "last", "gap": 1.0}\n')
    assert compute([Run(run)]).runs["run"]["gap"] == [(1, 0.5)]


def test_two_runs_are_told_apart_in_the_legend(tmp_path: Path) -> None:
    """By their names, or by their paths if several have the same name."""
    records = [{"step": n, "epoch": 0.5 * n, "norm_positive": 0.1, "norm_negative": 0.2} for n in (1, 2)]
    runs = [Run(run_with(tmp_path / f"{name} at the end of a long path" / name, records)) for name in ("one", "two")]
    found = compute(runs)
    figure = found.figure()
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["one ‖z⁺‖", "one ‖z⁻‖", "two ‖z⁺‖", "two ‖z⁻‖"]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 4
    assert len({line.get_color() for line in lines}) == 2
    assert list(found.runs) == list(map(str, runs))
    figure = compute([Run(run_with(tmp_path / name / "run", records)) for name in ("a", "b")]).figure()
    assert figure is not None
    labels = [str(line.get_label()) for line in figure.axes[0].get_lines()]
    assert labels[::2] == [f"{tmp_path}/{name}/run ‖z⁺‖" for name in ("a", "b")]


def test_validation_is_a_table(tmp_path: Path) -> None:
    records = [{"step": n, "epoch": n, "valid_ppl_prior": 10.0 / n, "gap": float("nan")} for n in (1, 2)]
    curves = compute([Run(run_with(tmp_path / "run", records))])
    assert curves.runs["run"]["valid_ppl_prior"] == [(1, 10.0), (2, 5.0)]
    assert "gap" not in curves.runs["run"]
    (table,) = curves.table().renderables
    assert isinstance(table, Table)
    assert [[str(cell) for cell in column.cells] for column in table.columns] == [["1", "2"], ["10", "5"]]
    assert Curves.from_json(json.loads(json.dumps(curves.to_json()))) == curves


def test_a_directory_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl does not exist"):
        compute([Run(tmp_path)])


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "a", [{"step": 1, "epoch": 1.0, "nll_token": 2.0}])
    with pytest.raises(InputError, match="given twice"):
        compute([Run(run), Run(tmp_path / "b" / ".." / "a")])


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", [{"step": 1, "epoch": 0.5, "gap": 0.1}])
    with pytest.raises(InputError, match="cannot draw"):
        draw(compute([Run(run)]), tmp_path / "out.nonsense")
