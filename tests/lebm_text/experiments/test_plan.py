"""Experiments as data: what a trial and a run are, and that mistakes are found before anything is trained."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.experiments.plan import Experiment, Tuning, builtin_experiments, read_experiment

from .program import experiment, started

TOML = """
title = "One row"
corpus = "toy"
seeds = [1]

[[rows]]
name = "lm"
label = "a language model"
preset = "lm"
trials = [{ "training.learning_rate" = 0.01 }]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.toml"
    path.write_text(TOML)
    return path


def test_the_packages_experiments_are_sound() -> None:
    assert "table1" in builtin_experiments()
    for name in builtin_experiments():
        assert read_experiment(name).name == name


def test_every_tuned_row_of_the_package_has_as_many_trials() -> None:
    for name in builtin_experiments():
        rows = [row for row in read_experiment(name).rows if row.trains and row.like is None]
        assert len({len(row.trials) for row in rows}) == 1, name


def test_a_file_is_read(file: Path) -> None:
    found = read_experiment(str(file))
    assert (found.name, found.title, found.seeds) == ("one", "One row", (1,))
    assert found.config(found.row("lm"), {"lm": 1}, 7).training.learning_rate == 0.01
    assert found.config(found.row("lm"), {"lm": 1}, 7).training.seed == 7


def test_a_pipe_is_read(file: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        stream.write(file.read_bytes())
    assert read_experiment(f"/dev/fd/{read}").rows == read_experiment(str(file)).rows
    os.close(read)


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


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('title = "One row"', 'titel = "One row"', "titel"),
        ('preset = "lm"', 'preset = "ml"', "unknown preset .ml."),
        ("learning_rate", "learning_rat", "learning_rat"),
        ("= 0.01", '= "fast"', "learning_rate"),
        ('label = "a language model"\n', "", "label"),
        ("seeds = [1]", "seeds = []", "at least one"),
        ('preset = "lm"', 'preset = "lm"\nlike = "lm"', "like"),
        ("seeds = [1]", 'seeds = [1]\ncompare = [["lm", "vae"]]', "unknown row 'vae'"),
        ("[[rows]]", "[[rows", "cannot read"),
        ("seeds = [1]", "seeds = 1", "seeds must be a list"),
        ("seeds = [1]", "seeds = [1, 1]", "twice"),
        ("seeds = [1]", 'seeds = [1]\ntemperatures = ["hot"]', "temperatures\\[0\\] must be a finite number"),
        ("seeds = [1]", "seeds = [1]\nlikelihood = 3", "likelihood must be an object"),
        ("seeds = [1]", 'seeds = [1]\nn_samples = "many"', "n_samples must be a whole number"),
        ("seeds = [1]", "seeds = [1]\ntemperatures = [0.0]", "temperatures must be > 0"),
        ("seeds = [1]", "seeds = [1]\nlstm_temperatures = []", "lstm_temperatures has to name one at least"),
        ("seeds = [1]", 'seeds = [1]\nsplit = "dev"', "split must be test or valid"),
        ("0.01 }]", '0.01 }]\n[[rows]]\nname = "b"\nlabel = "b"\npreset = "lm"', "same number of trials.*lm 1, b 0"),
        ("0.01 }]", '0.01 }]\n[[rows]]\nname = "b"\nlabel = "a language model"\npreset = "lm"', "the same label"),
        ("seeds = [1]", "seeds = [1.5]", "must be a whole number"),
        ("seeds = [1]", 'seeds = [1]\ncompare = [["lm", "lm", "lm"]]', "compare\\[0\\] must have 2 values"),
        ('preset = "lm"', 'preset = "lm"\nsettings = 3', "rows\\[0\\].settings must be an object"),
        (
            "0.01 }]",
            '0.01 }]\n[[rows]]\nname = "b"\nlabel = "b"\npreset = "lm"\nlike = "lm"\n'
            'settings = { "modle.dropout" = 0.1 }',
            "row b: .*modle",
        ),
    ],
)
def test_mistakes_are_named(file: Path, before: str, after: str, said: str) -> None:
    file.write_text(TOML.replace(before, after))
    with pytest.raises(InputError, match=said):
        read_experiment(str(file))


@pytest.mark.parametrize(
    "name", ["", "../../x", "/tmp/x", "a/b", "a\\\\b", "..", ".", ".hidden", "a\\u0000", "a\\nb", " a", "a" * 300]
)
@pytest.mark.parametrize("of", ["row", "experiment"])
def test_a_name_that_leads_elsewhere_is_refused(file: Path, name: str, of: str) -> None:
    text = TOML.replace('name = "lm"', f'name = "{name}"') if of == "row" else f'name = "{name}"\n{TOML}'
    file.write_text(text)
    with pytest.raises(InputError, match="becomes the name of a directory") as refused:
        read_experiment(str(file))
    assert "\n" not in str(refused.value)


def test_deep_nesting_is_one_line(file: Path) -> None:
    file.write_text(f"{TOML}deep = {'[' * 100_000}")
    with pytest.raises(InputError, match="cannot read the experiment"):
        read_experiment(str(file))


def test_rows_that_start_from_others_come_after_them_and_with_them(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a\n")
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


ROW = 'preset = "lm"\n'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('start = "lm"', "row lm needs itself, by way of lm"),
        ('start = "vae"', "unknown row 'vae'"),
        ('of = "b"', "at least one row that trains"),
        ("decoding = { guidance = 2.0 }", "row lm has a decoding"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\nlike = "lm"', "row b trains nothing"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nsamples = "b.txt"', "row b: there is no file .*b.txt"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\ndecoding = { latents = "best" }', "posterior or long"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\ndecoding = { heat = 2 }', "unknown key .*heat"),
        (
            '[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\n[[rows]]\nname = "c"\nlabel = "c"\nof = "b"',
            "row c needs b, which trains nothing",
        ),
    ],
)
def test_mistakes_of_rows_that_need_others_are_named(file: Path, more: str, said: str) -> None:
    before, after = TOML.split(ROW)
    file.write_text(f"{before}{ROW}{after}{more}" if "[[rows]]" in more else f"{before}{ROW}{more}\n{after}")
    with pytest.raises(InputError, match=said):
        read_experiment(str(file))


def test_a_file_of_samples_lies_beside_the_experiment(file: Path) -> None:
    (file.parent / "b.txt").write_text("a b\n")
    file.write_text(f'{TOML}[[rows]]\nname = "b"\nlabel = "b"\nsamples = "b.txt"')
    assert read_experiment(str(file)).row("b").samples == str(file.parent / "b.txt")


def test_a_seed_that_is_asked_for_twice_is_one_run() -> None:
    assert experiment().narrowed(seeds=[2, 1, 2]).seeds == (2, 1)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean table1"):
        read_experiment("tabel1")
    with pytest.raises(InputError, match="did you mean gaussian"):
        experiment().narrowed(rows=["gausian"])
