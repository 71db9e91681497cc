"""`lebm-text compare`: runs, reports of one system, and one report of several texts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lebm_text.cli.main import main
from lebm_text.experiments.comparing import compare, read_figures
from lebm_text.reports.frontier import Frontier

from ..experiments.program import OLD, changed, described, frontier

FRONTIER, LIKELIHOOD = OLD / "frontier-kn5-default-test.json", OLD / "likelihood-test.json"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD.parent, run)
    assert main(["compare", str(run), str(run), str(FRONTIER)]) == 0
    out = " ".join(capsys.readouterr().out.split())  # of lines as wide as the terminal
    assert f"{run} beside {run}" in out and "within its interval" in out and "nll per sentence" in out
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", str(FRONTIER), str(changed(tmp_path / "b.json", FRONTIER, ppl=29.54))]) == 0
    assert "FPPL by kn5, T = 1 21.10 29.54 1.400 " in " ".join(capsys.readouterr().out.split())
    assert main(["compare", str(FRONTIER)]) == 2
    assert capsys.readouterr().err.endswith("frontier-kn5-default-test.json with: name another run or report\n")
    assert main(["compare", str(FRONTIER), str(LIKELIHOOD), "--json"]) == 0
    (rows,) = json.loads(capsys.readouterr().out)["others"].values()
    assert {row["why"] for row in rows} == {"the other has no such figure", "the first has no such figure"}
    assert not any(row["beyond"] for row in rows)


def test_texts_of_one_report_are_systems_that_differ_as_they_do_in_reports_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = described(frontier([(9.0, 9.0, 1.0)])), described(frontier([(8.0, 12.0, 1.0)]))
    ours.save(tmp_path / "ours.json")
    theirs.save(tmp_path / "theirs.json")
    named = [_renamed(ours, "ours.txt"), _renamed(theirs, "theirs.txt")]
    both = replace(
        ours,
        results=[row for each in named for row in each.results],
        points=[row for each in named for row in each.points],
        meaning={text: score for each in named for text, score in each.meaning.items()},
    )
    both.save(tmp_path / "both.json")
    assert main(["compare", str(tmp_path / "both.json"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["first"], list(printed["others"])) == ("ours.txt", ["theirs.txt"])
    assert main(["compare", *[str(tmp_path / "both.json")] * 2, "--json"]) == 0
    first, *others = [f"{tmp_path / 'both.json'}: {name}" for name in ("ours.txt", "theirs.txt")]
    printed = json.loads(capsys.readouterr().out)
    assert (printed["first"], set(printed["others"])) == (first, {first, *others})
    single = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]
    for path in single:
        named[0].save(path)
    assert main(["compare", *map(str, single), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["others"]) == [f"{path}: ours.txt" for path in single[1:]]
    of_ours, of_theirs = (read_figures(tmp_path / f"{name}.json") for name in ("ours", "theirs"))
    systems = read_figures(tmp_path / "both.json")
    assert list(systems) == ["ours.txt", "theirs.txt"]
    found = compare(*systems.values())
    assert found == compare(*of_ours.values(), *of_theirs.values())
    assert {each.metric for each in found} == {"FPPL by kn5, T = 1", "RPPL by kn5, T = 1", "FED, T = 1"}
    assert all(each.interval is not None for each in found)


def _renamed(report: Frontier, name: str) -> Frontier:
    """A report whose one text has a name."""
    return replace(
        report,
        results=[replace(row, text=name) for row in report.results],
        points=[replace(row, text=name) for row in report.points],
        meaning=dict.fromkeys([name], *report.meaning.values()),
    )
