"""Experiments read from TOML: mistakes are found before anything is trained, and a file can build on another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.experiments.reading import builtin_experiments, read_experiment

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


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('title = "One row"', 'titel = "One row"', "titel"),
        ('preset = "lm"', 'preset = "ml"', "unknown preset .ml."),
        ("learning_rate", "learning_rat", "learning_rat"),
        ("= 0.01", '= "fast"', "learning_rate"),
        ('label = "a language model"\n', "", "label"),
        ("seeds = [1]", "seeds = []", "at least one"),
        ('"a language model"', '"a\\n## b"', "row lm: label must be a name on one line"),
        ('"a language model"', '" "', "row lm: label must be a name on one line"),
        ('preset = "lm"', 'preset = "lm"\nlike = "lm"', "like"),
        ("seeds = [1]", 'seeds = [1]\ncompare = [["lm", "vae"]]', "unknown row 'vae'"),
        ("[[rows]]", "[[rows", "cannot read"),
        ("seeds = [1]", "seeds = 1", "seeds must be a list"),
        ("seeds = [1]", "seeds = [1, 1]", "twice"),
        ("seeds = [1]", 'seeds = [1]\ntemperatures = ["hot"]', "temperatures\\[0\\] must be a finite number"),
        ("seeds = [1]", "seeds = [1]\nlikelihood = 3", "likelihood must be an object"),
        ("seeds = [1]", 'seeds = [1]\nn_samples = "many"', "n_samples must be a whole number"),
        ("seeds = [1]", "seeds = [1]\ntemperatures = [0.0]", "temperatures must lie in \\[1e-30"),
        ("seeds = [1]", "seeds = [1]\ntemperatures = [1e31]", "temperatures must lie in"),
        ("seeds = [1]", "seeds = [1]\nlstm_temperatures = [0.0]", "lstm_temperatures must lie in"),
        ("seeds = [1]", "seeds = [-1]", "row lm: seeds must be >= 0"),
        ("seeds = [1]", "seeds = [1]\nn_samples = 0", "n_samples must be >= 1"),
        ("seeds = [1]", "seeds = [1]\ntuning.n_samples = 0", "tuning: n_samples must be >= 1"),
        ("seeds = [1]", "seeds = [1]\ntuning.n_epochs = 0", "tuning: n_epochs must be >= 1"),
        ("seeds = [1]", "seeds = [1]\nlikelihood.ais.n_chains = 0", "likelihood.ais: n_chains must be >= 1"),
        ("seeds = [1]", 'seeds = [1]\nlikelihood.split = "valid"', "likelihood.split is that of the whole"),
        ("seeds = [1]", "seeds = [1]\nlstm_temperatures = []", "lstm_temperatures has to name one at least"),
        ("seeds = [1]", 'seeds = [1]\nsplit = "dev"', "split must be test or valid"),
        ("0.01 }]", '0.01 }]\n[[rows]]\nname = "b"\nlabel = "b"\npreset = "lm"', "same number of trials.*lm 1, b 0"),
        ("0.01 }]", '0.01 }]\n[[rows]]\nname = "b"\nlabel = "a language model"\npreset = "lm"', "the same label"),
        ("seeds = [1]", "seeds = [1.5]", "must be a whole number"),
        ("seeds = [1]", 'seeds = [1]\ncompare = [["lm", "lm", "lm"]]', "compare\\[0\\] must have 2 values"),
        ("seeds = [1]", "seeds = [1]\nlstm_seeds = [1, 3]", "lstm_seeds has the seed 3, which is none of seeds"),
        ('preset = "lm"', 'preset = "lm"\nsettings = 3', "rows\\[0\\].settings must be an object"),
        (
            "0.01 }]",
            '0.01 }]\n[[rows]]\nname = "b"\nlabel = "b"\npreset = "lm"\nlike = "lm"\n'
            'settings = { "modle.dropout" = 0.1 }',
            "row b: .*modle",
        ),
        (
            "0.01 }]",
            '0.01 }]\n[[rows]]\nname = "b"\nlabel = "b"\nlike = "lm"\nsettings = { model = 3 }',
            "row b: configuration section 'model' must hold keys, got 3",
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


ROW = 'preset = "lm"\n'
OF_LM = '[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\n'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('start = "lm"', "row lm needs itself, by way of lm"),
        ('start = "vae"', "unknown row 'vae'"),
        ('of = "b"', "at least one row that trains"),
        ("decoding = { guidance = 2.0 }", "row lm has a decoding"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nof = "lm"\nlike = "lm"', "row b trains nothing"),
        ('[[rows]]\nname = "b"\nlabel = "b"\nsamples = "b.txt"', "row b: there is no file .*b.txt"),
        (f'{OF_LM}decoding = {{ latents = "best" }}', "posterior or long"),
        (f"{OF_LM}decoding = {{ prior_temperature = -1 }}", "row b: prior_temperature must lie in \\(0, 100"),
        (f"{OF_LM}decoding = {{ guidance = -5 }}", "row b: guidance must lie in"),
        (f"{OF_LM}decoding = {{ guidance = 2 }}", "row b: decoding is for a model with a latent vector"),
        (f"{OF_LM}decoding = {{ heat = 2 }}", "unknown key .*heat"),
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
    (file.parent / "b.txt").write_text("a b\n" * 2)
    file.write_text(f'n_samples = 2\n{TOML}[[rows]]\nname = "b"\nlabel = "b"\nsamples = "b.txt"')
    assert read_experiment(str(file)).row("b").samples == str(file.parent / "b.txt")
    (file.parent / "b.txt").write_text("a b\n")
    with pytest.raises(InputError, match=r"row b: .*b.txt has 1 sentences, fewer than the 2 asked for"):
        read_experiment(str(file))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean table1"):
        read_experiment("tabel1")


BASE = """
title = "Two rows"
corpus = "toy"
seeds = [1, 2]
n_samples = 1

[settings]
"model.dropout" = 0.1
"training.n_epochs" = 2

[[rows]]
name = "lm"
label = "a language model"
preset = "lm"
settings = { "training.learning_rate" = 0.01, "training.clip_norm" = 1.0 }

[[rows]]
name = "other"
label = "sentences of another"
samples = "other.txt"
"""


def _based(directory: Path, text: str, base: str = BASE) -> str:
    (directory / "below").mkdir()
    (directory / "base.toml").write_text(base)
    (directory / "other.txt").write_text("a b\n")
    (directory / "below" / "mine.txt").write_text("b a\n")
    (directory / "below" / "top.toml").write_text(text)
    return str(directory / "below" / "top.toml")


def test_a_file_says_what_it_changes_of_another(tmp_path: Path) -> None:
    changes = """
        base = "../base.toml"
        corpus = "yelp"
        settings = { "training.n_epochs" = 5 }
        rows = [
            { name = "mine", label = "my sentences", samples = "mine.txt" },
            { name = "lm", label = "an LSTM", settings = { "training.clip_norm" = 2.0 } },
        ]
    """
    found = read_experiment(_based(tmp_path, changes))
    assert (found.name, found.title, found.corpus, found.seeds) == ("top", "Two rows", "yelp", (1, 2))
    assert [row.name for row in found.rows] == ["lm", "other", "mine"]
    assert found.row("lm").label == "an LSTM"
    training = found.config(found.row("lm"), {}, 1).training
    assert (training.n_epochs, training.learning_rate, training.clip_norm) == (5, 0.01, 2.0)
    assert found.config(found.row("lm"), {}, 1).model.dropout == 0.1
    read = {row.name: Path(row.samples).read_text() for row in found.rows if row.samples is not None}
    assert read == {"other": "a b\n", "mine": "b a\n"}


def test_one_of_the_package_is_a_base_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "paper-cpu"\ncorpus = "snli"\n')
    found, base = read_experiment(str(tmp_path / "mine.toml")), read_experiment("paper-cpu")
    assert (found.name, found.corpus, found.rows, found.settings) == ("mine", "snli", base.rows, base.settings)


def test_a_base_may_have_a_base(tmp_path: Path) -> None:
    (tmp_path / "top.toml").write_text('base = "below/top.toml"\n[settings]\n"model.dropout" = 0.3\n')
    _based(tmp_path, 'base = "../base.toml"\ntitle = "One of three"\n[settings]\n"training.n_epochs" = 5\n')
    found = read_experiment(str(tmp_path / "top.toml"))
    config = found.config(found.row("lm"), {}, 1)
    assert (found.title, config.training.n_epochs, config.model.dropout) == ("One of three", 5, 0.3)
    assert [row.name for row in found.rows] == ["lm", "other"]


def test_settings_stand_in_either_form(tmp_path: Path) -> None:
    """A section's table, or keys without quotes, which TOML reads as such a table: laid over each other key by key."""
    changes = """
        base = "../base.toml"
        [settings]
        training.n_epochs = 5
        [[rows]]
        name = "lm"
        settings.training = { clip_norm = 2.0, batch_size = 7 }
    """
    found = read_experiment(_based(tmp_path, changes))
    training = found.config(found.row("lm"), {}, 1).training
    assert (training.n_epochs, training.clip_norm, training.batch_size, training.learning_rate) == (5, 2.0, 7, 0.01)
    assert found.config(found.row("lm"), {}, 1).model.dropout == 0.1
    narrowed = found.narrowed(settings={"training.batch_size": 8}).row("lm")
    assert found.config(narrowed, {}, 1).training.batch_size == 8
    assert found.config(narrowed, {}, 1).training.clip_norm == 2.0


@pytest.mark.parametrize(
    ("text", "base", "said"),
    [
        ('base = "../base.toml"\n[[rows]]\nname = "m"\n[[rows]]\nname = "m"', BASE, "two rows have the same name"),
        ('base = "table9"', BASE, "unknown experiment 'table9'.*did you mean table"),
        ("base = 3", BASE, "base must be the name of an experiment or of a file, got 3"),
        ('base = "top.toml"', BASE, "base = 'top.toml' is based on itself"),
        ('base = "../base.toml"', 'base = "below/top.toml"', "base = 'below/top.toml' is based on itself"),
        ('base = "../base.toml"', "title = ", "cannot read the experiment .*base.toml"),
        ('base = "../base.toml"\nrows = 3', BASE, "rows must be"),
        ('base = "../base.toml"\nrows = [{ name = [] }]', BASE, "top.toml: .*rows"),
        ('base = "../base.toml"\n[settings]\n"modle.dropout" = 0.1', BASE, "modle"),
    ],
)
def test_mistakes_of_a_base_are_named(tmp_path: Path, text: str, base: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read_experiment(_based(tmp_path, text, base))
    assert "\n" not in str(refused.value)
