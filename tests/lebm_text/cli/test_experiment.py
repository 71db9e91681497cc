"""`lebm-text experiment`: a real, tiny one from the command line, its plan, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lebm_text.cli.main import main

from .conftest import Report
from .test_main import one_line

TOML = """
title = "A tiny experiment"
corpus = "CORPUS"
seeds = [1]
n_samples = 50
temperatures = [1.0]

[settings]
"training.n_epochs" = 1
"training.report_every" = 1
"model.embedding_dim" = 8
"model.hidden_dim" = 8

[[rows]]
name = "lm"
label = "a language model"
preset = "lm"
"""


@pytest.fixture
def file(grammar_corpus: Path) -> Path:
    path = Path("tiny.toml")
    path.write_text(TOML.replace("CORPUS", str(grammar_corpus)))
    return path


@pytest.mark.slow
@pytest.mark.pictures
def test_from_nothing_to_the_table(file: Path, report_of: Report, capsys: pytest.CaptureFixture[str]) -> None:
    results = report_of("experiment", str(file))
    out = Path("runs/tiny-grammar")
    figures = results["rows"]["lm"]["kn5"]["T=1"]
    (report,) = json.loads((out / "lm-seed1" / "eval" / "frontier.json").read_text())["points"][:1]
    assert figures["fppl"]["value"] == pytest.approx(report["fppl"])
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "frontiers.png").stat().st_size > 1000
    assert [entry["status"] for entry in results["log"]] == [0, 0, 0, 0]
    assert results["known"]["5-gram samples"]["rppl"] < figures["rppl"]["value"]
    assert main(["experiment", str(file), "--table"]) == 0
    assert capsys.readouterr().out == (out / "results.md").read_text()


def test_the_plan_sums_the_budgets_and_does_nothing(capsys: pytest.CaptureFixture[str], grammar_corpus: Path) -> None:
    arguments = ["experiment", "table1", "--plan", "--budget-minutes", "10", "--row", "lm", "--row", "gaussian"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    # lm, lebm and its twin: 9 runs of 10 minutes, 6 trials as long
    assert "6 trials, then 9 runs" in out
    assert "at most 2.5 h" in out
    assert main([*arguments, "--corpus", "nowhere"]) == 2
    assert "no corpus 'nowhere'" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_plan_reads_the_choices(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "tuning.json").write_text("{}")
    arguments = ["experiment", "table1", "--plan", "--choices", str(tmp_path / "tuning.json")]
    assert main(arguments) == 2
    assert "no choice for row" in one_line(capsys)
    (tmp_path / "tuning.json").write_text('{"lm": 5}')
    assert main(arguments) == 2
    assert "lm must be an object, got 5" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tabel1"],
        ["table1", "--row", "nothing"],
        ["table1", "--budget-minutes", "0"],
        ["table1", "--jobs", "100000"],
        ["table1", "--corpus", "nowhere"],
        ["table1", "--table"],
        ["table1", "--skip", "kn5"],
        ["table1", "--plan"],  # it has no JSON
    ],
)
def test_wrong_arguments_are_one_line(
    grammar_corpus: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["experiment", *arguments, "--json"]) == 2
    assert one_line(capsys)
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["ais.n_step = 3", 'n_ais = "few"', "ais.n_steps = 1"])
def test_settings_that_the_likelihood_report_does_not_take_are_refused_before_any_work(
    file: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    file.write_text(file.read_text().replace("[settings]", f"[likelihood]\n{option}\n\n[settings]"))
    assert main(["experiment", str(file), "--plan"]) == 2
    assert option.split()[0].removeprefix("ais.") in one_line(capsys)


@pytest.mark.slow
def test_a_failing_step_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text() + 'settings = { "text.max_length" = 1 }\n')  # shorter than any sentence
    assert main(["experiment", str(file), "--json"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("lebm-text: error: 1 step(s) failed, the last: lm-seed1 train")
    assert Path("runs/tiny-grammar/results.md").exists()


def test_a_directory_that_holds_something_else_is_left_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Path("mine") / "results.md"
    mine.parent.mkdir()
    mine.write_text("my notes")
    assert main(["experiment", str(file), "--out", "mine", "--table"]) == 2
    assert "nothing has been done yet" in capsys.readouterr().err.splitlines()[-1]
    for more in ([], ["--plan"]):
        assert main(["experiment", str(file), "--out", "mine", *more]) == 2
        assert "mine is neither empty nor an experiment's" in capsys.readouterr().err.splitlines()[-1]
    assert main(["experiment", str(file), "--jobs", "100000", "--plan"]) == 2
    assert "100000 jobs at a time are more than" in capsys.readouterr().err
    assert [path.name for path in mine.parent.iterdir()] == ["results.md"]
    assert mine.read_text() == "my notes"
