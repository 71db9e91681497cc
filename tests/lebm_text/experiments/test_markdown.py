"""The tables of an experiment: each figure stands under its own heading, in the row of its own system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lebm_text.experiments.markdown import markdown, plot_frontiers
from lebm_text.experiments.results import Results, gather
from lebm_text.experiments.tuning import Choice

from .program import experiment

Lines = dict[str, dict[str, str]]


@pytest.fixture
def results(done: Path) -> Results:
    return gather(experiment(), done)


def _table(results: Results, title: str) -> Lines:
    """First cell of a row → heading → cell, of an interval its middle."""
    section = markdown(results, "").partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|")]
    heading, _, *lines = rows
    return {cells[0]: {name: cell.split(" [")[0] for name, cell in zip(heading, cells, strict=True)} for cells in lines}


def test_each_figure_of_the_main_table_is_under_its_heading(results: Results) -> None:
    found = _table(results, "Main table")
    assert found["LEBM"] == {
        "row": "LEBM",
        "seeds": "1, 2",
        "epochs": "2.0",
        "FPPL, KN5": "10.49",
        "RPPL, KN5": "12.49",
        "FPPL, LSTM": "10.00",
        "RPPL, LSTM": "12.00",
        "distinct, greedy": "60 %",
        "log p(x): nll": "19.00",
        "perplexity": "4.50",
        "reconstruction nll": "15.00",
        "information": "3.00",
        "active units": "6.0",
    }
    kn5 = "FPPL, KN5", "RPPL, KN5"
    assert [found["real text"][name] for name in kn5] == ["4.00", "10.00 (4.00 from all)"]
    assert [found["5-gram samples"][name] for name in kn5] == ["6.25", "5.00"]


def test_real_text_says_where_its_figure_is_of_more_sentences_and_has_none_by_a_judge_that_did_not_judge(
    results: Results,
) -> None:
    found = _table(replace(results, real={"lstm": {"ppl": 4.0}}), "Main table")["real text"]
    assert list(found.values())[3:5] == ["–", "–"] != [found["FPPL, LSTM"], found["RPPL, LSTM"]]
    assert (found["FPPL, LSTM"], found["RPPL, LSTM"]) == ("4.00", "4.00 from all")


def test_each_diagnostic_of_a_likelihood_is_under_its_heading(results: Results) -> None:
    likelihood = results.rows["lebm"].likelihood
    names = ("perplexity_of_all", "log_z", "chain_gap", "encoder_kl", "chain_ess")
    values = {name: replace(likelihood["nll"], value=float(i)) for i, name in enumerate(names)}
    rows = {"lebm": replace(results.rows["lebm"], likelihood=values)}
    found = _table(replace(results, rows=rows, distances={"5-gram samples": {"lebm": None}}, comparisons=[]), _BEHIND)
    assert found["LEBM"] == {
        "row": "LEBM",
        "perplexity of all sentences": "0.00",
        "log Z": "1.00",
        "E_chain[f] − E_p[f]": "2.00",
        "KL(q‖p)": "3.00",
        "chains' effective number": "4.00",
    }


_BEHIND = "Details of the likelihoods"


def test_each_figure_of_a_trial_is_under_its_heading_and_the_chosen_one_is_marked(results: Results) -> None:
    lm = _table(replace(results, tuning={"lm": results.tuning["lm"]}), "Tuning")
    assert list(lm["lm"].values()) == ["lm", "model.dropout=0.5", "2", "1.5", "4.50", "5.50", "4.97", "**chosen**"]
    assert list(lm["lm"])[2:-1] == ["epochs", "minutes", "FPPL", "RPPL", "score"]
    assert markdown(results, "").count("**chosen**") == 2


def test_times_are_those_of_runs_of_all_trials_and_of_all_steps(results: Results) -> None:
    trial = replace(results.tuning["lm"].trials[0], seconds=5400.0)
    log = [{"seconds": 5400.0}, {"seconds": 1800.0}]
    timed = replace(results, tuning={name: Choice(1, (trial, trial)) for name in ("lebm", "lm")}, log=log)
    assert _table(timed, "Training time")["LEBM"] == {
        "row": "LEBM",
        "epochs": "2.0",
        "minutes of updates per run": "1.5",
    }
    assert "Updates of all trials: 6.0 h. All steps, one after the other: 2.0 h." in markdown(timed, "")


def test_the_head_says_with_what_runs_were_trained(results: Results) -> None:
    line = "Trained with lebm-text 0 (0123456789ab), torch 2, on a, 1 thread(s) per run, fp32."
    assert line in markdown(results, "")
    (environment,) = results.environments
    git = {"commit": "0123456789abcdef", "changed": True}
    for value, shown in ((git, "0123456789ab with changes"), (None, "no git")):
        text = markdown(replace(results, environments=[environment | {"git": value}]), "the command")
        assert line.replace("0123456789ab", shown) in text and "\n    the command\n" in text


def test_a_table_without_a_picture_shows_none(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    for formats in (frozenset({"png"}), frozenset[str]()):
        monkeypatch.setattr("lebm_text.experiments.markdown.picture_formats", lambda formats=formats: formats)
        assert ("(frontiers.png)" in markdown(results, "")) == bool(formats)


@pytest.mark.pictures
def test_models_lie_close_in_one_panel_and_with_greedy_decoding_in_the_other(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
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
