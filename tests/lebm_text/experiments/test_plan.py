"""Experiments as data: what a trial and a run are, and that mistakes are found before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.experiments.plan import Experiment, Tuning
from lebm_text.experiments.reading import builtin_experiments, read_experiment
from lebm_text.experiments.rows import Row, RowDecoding

from .program import experiment, started


def test_every_tuned_row_of_the_package_has_as_many_trials() -> None:
    for name in builtin_experiments():
        rows = [row for row in read_experiment(name).rows if row.trains and row.like is None]
        assert len({len(row.trials) for row in rows}) == 1, name


def test_a_twin_has_the_chosen_settings_of_the_other_and_its_own() -> None:
    tiny = experiment()
    lebm, twin = (tiny.config(tiny.row(name), {"lebm": 2, "lm": 1}, 5) for name in ("lebm", "gaussian"))
    assert (lebm.model.prior, twin.model.prior) == ("ebm", "gaussian")
    assert lebm.training.learning_rate == twin.training.learning_rate == 0.004
    assert lebm.inference == twin.inference
    assert lebm.training.seed == twin.training.seed == 5


def _anneal_epochs(config: Config) -> float:
    return float(config.to_dict()["inference"]["anneal_epochs"])


def test_a_shorter_trial_shortens_what_is_counted_in_epochs() -> None:
    table = _half_as_long(read_experiment("table1"))
    for name in ("vae", "fbvae", "sri", "lebm"):
        row = table.row(name)
        for number in range(1, len(row.trials) + 1):
            whole, trial = table.config(row, {name: number}, 1), table.trial(row, number)
            share = trial.training.n_epochs / whole.training.n_epochs
            assert share == table.share(row, number) == 0.5
            if _anneal_epochs(whole) != 6:
                assert _anneal_epochs(trial) == _anneal_epochs(whole) * share
            assert trial.inference.pretrain_epochs == whole.inference.pretrain_epochs * share
            assert trial.training.learning_rate == whole.training.learning_rate


def test_a_shorter_trial_begins_to_anneal_and_to_learn_its_prior_earlier() -> None:
    starts = {"inference.anneal_start_epoch": 1.0, "training.prior_start_epoch": 1.5}
    anneal = {"inference.likelihood_weight_start": 6.0, "inference.anneal_epochs": 3.0}
    table = experiment(rows=(Row("lebm", "LEBM", settings={**starts, **anneal}),), compare=())
    trial = table.trial(table.row("lebm"), 1).to_dict()  # of two epochs for four
    assert (trial["inference"]["anneal_start_epoch"], trial["training"]["prior_start_epoch"]) == (0.5, 0.75)


def test_a_shorter_trial_starts_as_a_language_model_for_its_share() -> None:
    table = _half_as_long(read_experiment("table1"))
    for of_all, of_trial in ((2, 1), (1, 1)):  # a trial keeps an epoch of it
        started = dataclasses.replace(table, settings=table.settings | {"training.init": "lm"})
        started = dataclasses.replace(started, settings=started.settings | {"training.init_epochs": of_all})
        assert started.trial(started.row("lebm"), 1).training.init_epochs == of_trial


def test_a_trial_without_an_anneal_leaves_its_length_alone() -> None:
    table = _half_as_long(read_experiment("table1"))
    row = table.row("vae")
    constant = table.trial(table.row("lebm"), 2)
    annealed = table.trial(row, 3)
    assert _anneal_epochs(constant) == 6  # the default
    assert _anneal_epochs(annealed) == 1.5


def test_trials_are_as_long_as_runs_unless_it_is_said_otherwise() -> None:
    table = read_experiment("table1")
    for row in table.rows:
        for number in range(1, len(row.trials) + 1):
            assert table.trial(row, number) == table.config(row, {row.name: number}, 1)


def _half_as_long(table: Experiment) -> Experiment:
    """With trials of two epochs for runs of four."""
    rows = [
        dataclasses.replace(row, settings={**row.settings, "inference.pretrain_epochs": 2})
        if row.name == "fbvae"
        else row
        for row in table.rows
    ]
    settings = {**table.settings, "training.n_epochs": 4}
    return dataclasses.replace(table, rows=tuple(rows), settings=settings, tuning=Tuning(n_epochs=2))


def test_narrowing_keeps_what_a_row_needs() -> None:
    some = experiment().narrowed(rows=["gaussian"], seeds=[2], corpus="other", skip=["likelihood"])
    assert [row.name for row in some.rows] == ["lebm", "gaussian"]
    assert (some.corpus, some.seeds, some.lstm_seeds, some.likelihood_seeds) == ("other", (2,), (), ())
    assert some.compare == (("lebm", "gaussian"),)
    assert experiment().narrowed(rows=["lm"]).compare == ()
    assert experiment().narrowed(skip=["lstm"]).lstm_seeds == ()


def test_rows_that_start_from_others_come_after_them_and_with_them(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a\n" * 60)
    asked = started(tmp_path / "other.txt")
    names = [[row.name for row in rows] for rows in asked.generations()]
    assert names == [["other", "lm"], ["oracle", "gaussian", "lebm"]]
    assert asked.first.name == "lm"
    narrowed = asked.narrowed(rows=["oracle"], settings={"model.dropout": 0.1})
    assert [row.name for row in narrowed.rows] == ["oracle", "lebm", "lm"]
    assert narrowed.config(narrowed.row("lebm"), {"lebm": 1}, 1).model.dropout == 0.1
    assert narrowed.trial(narrowed.row("lm"), 2).model.dropout == 0.5  # what its trials try
    assert not asked.narrowed(skip=["fed"]).fed
    twin = asked.row("gaussian")
    assert not asked.is_settled(twin, {"lebm": 1})
    assert asked.is_settled(twin, {"lebm": 1, "lm": 1})
    assert "4 trials, then 6 runs" in asked.describe(tmp_path, None, 1, tuned=False)[1]


def test_a_twin_has_what_is_set_for_all_rows_from_the_row_that_it_is_like() -> None:
    changed = experiment().narrowed(settings={"training.learning_rate": 0.5, "model.dropout": 0.4})
    lebm, twin = (changed.config(changed.row(name), {"lebm": 1}, 1) for name in ("lebm", "gaussian"))
    assert (twin.training.learning_rate, twin.model.dropout) == (0.001, 0.4)  # the rate is that of the trial
    assert twin.training == lebm.training
    other = experiment().narrowed(rows=["gaussian"], settings={"model.prior": "ebm"})
    assert other.config(other.row("gaussian"), {"lebm": 1}, 1).model.prior == "ebm"  # instead of its own


def test_the_seeds_are_those_of_the_experiment() -> None:
    with pytest.raises(InputError, match=r"training.seed is one of seeds \(--seed\): leave it out"):
        experiment().narrowed(settings={"training": {"seed": 9}})
    changes: tuple[dict[str, Any], ...] = ({"settings": {"training.seed": 9}}, {"trials": ({"training.seed": 9}, {})})
    for of_one in changes:
        rows = (dataclasses.replace(experiment().row("lebm"), **of_one),)
        with pytest.raises(InputError, match=r"row lebm: training\.seed"):
            experiment(rows=rows, compare=()).check()
    with pytest.raises(InputError, match=r"training\.seed"):
        experiment(settings={"training.seed": 9}).check()


def test_samples_alone_come_with_the_run_that_leads_to_the_real_text(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a\n" * 60)
    asked = started(tmp_path / "other.txt").narrowed(rows=["other"])
    assert [row.name for row in asked.rows] == ["other", "lm"]


def test_a_plan_promises_no_half_of_the_time_where_one_run_waits(tmp_path: Path) -> None:
    asked = experiment().narrowed(rows=["lm"], seeds=[1])
    one, two = (asked.describe(tmp_path, 60, n_jobs, tuned=True)[-1] for n_jobs in (1, 2))
    assert one == "training takes at most 1.0 h of processes (60 minutes a run); judging comes on top"
    assert "2 at a time: 0.5 h if none waits for another" in two


def test_a_seed_that_is_asked_for_twice_is_one_run() -> None:
    assert experiment().narrowed(seeds=[2, 1, 2]).seeds == (2, 1)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean gaussian"):
        experiment().narrowed(rows=["gausian"])


STARTED: dict[str, Any] = {"label": "b", "preset": "quick", "start": "lm"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([Row("b", settings={"model.hidden_dim": 64}, **STARTED)], "row b: it starts from lm.*hidden_dim is 128 .* 64"),
        ([Row("b", settings={"text.vocab_size": 99}, **STARTED)], "row b: it starts from lm.*vocab_size is None .* 99"),
        (
            [Row("b", settings={"inference.pretrain_epochs": 1}, **STARTED | {"preset": "fbvae"})],
            "row b: .*or the other",
        ),
        (
            [Row("b", **STARTED), Row("c", "c", settings={"model.tied": True}, like="b")],
            "row c: it starts from lm.*tied",
        ),
        ([Row("b", **STARTED), Row("c", "c", settings={"training.init": "x"}, like="b")], "row c starts from another"),
        ([Row("b", settings={"training.init": "x"}, **STARTED)], "row b starts from another: leave out training.init"),
        ([Row("b", settings={"model.latent_dim": 4}, **STARTED), Row("c", "c", like="b")], ""),
    ],
)
def test_a_row_that_could_not_begin_with_the_weights_of_another_is_refused(rows: list[Row], said: str) -> None:
    asked = experiment(rows=(Row("lm", "LM", "lm"), *rows), compare=())
    if said:
        with pytest.raises(InputError, match=said):
            asked.check()
    else:
        asked.check()


def test_a_row_begins_with_whichever_trial_of_the_other_is_chosen() -> None:
    trials: tuple[dict[str, Any], ...] = ({"model.hidden_dim": 64}, {"model.hidden_dim": 128})
    rows = (Row("lm", "LM", "lm", trials=trials), Row("b", trials=trials, **STARTED))
    with pytest.raises(InputError, match=r"row b: it starts from lm, and model\.hidden_dim is 128 there and 64 here"):
        experiment(rows=rows, compare=()).check()


def test_the_plans_of_the_tables_are_sound() -> None:
    tables = Path(__file__).parents[3] / "docs" / "tables"
    plans = [path for path in tables.rglob("plan*.toml") if "samples = " not in path.read_text()]  # kept without them
    assert len([read_experiment(str(path)) for path in plans]) > 3


@pytest.mark.parametrize(
    ("model", "decoding", "said"),
    [
        ({}, RowDecoding(guidance=2.0), "guidance needs"),
        ({"model.z_dropout": 0.1}, RowDecoding(guidance=2.0), ""),
        ({"model.prior": "gaussian"}, RowDecoding(latents="long"), "prior with a chain"),
        ({"model.prior": "gaussian"}, RowDecoding(latents="posterior"), ""),
    ],
)
def test_what_no_model_of_a_row_could_decode_is_refused(
    model: dict[str, object], decoding: RowDecoding, said: str
) -> None:
    rows = (Row("lebm", "LEBM", settings=model), Row("b", "b", of="lebm", decoding=decoding))
    asked = experiment(rows=rows, compare=())
    if said:
        with pytest.raises(InputError, match=f"row b: decoding.*{said}"):
            asked.check()
    else:
        asked.check()
