"""Configuration: JSON round trip, overrides, and a refusal for every value that cannot be meant."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.config import Config, by_section
from lebm_text.errors import InputError
from lebm_text.presets import PRESETS, preset
from lebm_text.sections import ClassesConfig, ModelConfig, PriorConfig, TextConfig

# Every field: values that it takes, values that it refuses (all by --set, as text).
FIELDS: dict[str, tuple[list[str], list[str]]] = {
    "text.tokenizer": (["word", "sentencepiece"], ["words", "1", "none"]),
    "text.vocab_size": (["5", "32000", "none"], ["4", "-1", "8000.5", "many"]),
    "text.lowercase": (["true", "false"], ["1", "yes"]),
    "text.max_length": (["1", "1e3"], ["0", "1.5", "none"]),
    "model.prior": (["ebm", "gaussian", "mine:Mixture"], ["vamp"]),
    "model.generator": (["lstm", "my.module:GRU"], ["gru", "a:b:c", "my/file.py:GRU", ":GRU", "os:"]),
    "model.latent_dim": (["1", "64", "0"], ["-1", "2.5", "1e11"]),
    "model.embedding_dim": (["1"], ["0"]),
    "model.hidden_dim": (["1"], ["-3"]),
    "model.n_layers": (["1", "1024"], ["0", "1025", "1.5"]),
    "model.n_heads": (["1", "8"], ["0", "-1"]),
    "model.dropout": (["0", "0.99"], ["1", "-0.1", "nan", "high"]),
    "model.z_dropout": (["0", "0.2", "0.5"], ["0.51", "-0.1", "none"]),
    "model.word_dropout": (["0", "0.99"], ["1", "-0.1", "none"]),
    "model.tied": (["true", "false"], ["1", "yes", "none"]),
    "model.prior_hidden_dim": (["1"], ["0"]),
    "model.energy_bound": (["0", "5"], ["-1", "Infinity"]),
    "model.init_range": (["0.01"], ["0", "-0.1"]),
    "inference.kind": (["short_run", "amortized", "semi_amortized"], ["amortized_run", "no_latent", "none"]),
    "inference.n_steps": (["1"], ["0", "1e14"]),
    "inference.step_size": (["0.1", str([0.1] * 20)], ["0", "-0.1", "[0.1]", "[]", str([0.1] * 19 + [0]), "[[0.1]]"]),
    "inference.noise_scale": (["0", "0.5"], ["-0.1", "none"]),
    "inference.noise_scale_start": (["0", "none"], ["-0.1", "x"]),
    "inference.likelihood_weight": (["0.1", "10"], ["0", "-1", "none"]),
    "inference.likelihood_weight_start": (["0.1", "none"], ["0", "x"]),
    "inference.anneal_epochs": (["0.5"], ["0", "-1"]),
    "inference.anneal_start_epoch": (["0", "2.5"], ["-1"]),
    "inference.persistent": (["true", "false"], ["0", "1"]),
    "inference.learning_rate": (["0.1"], ["0", "-1", "none"]),
    "inference.kl_weight": (["0", "1.5"], ["-0.1", "none"]),
    "inference.kl_weight_start": (["0", "0.1", "none"], ["-0.1", "x"]),
    "inference.free_bits": (["0", "8"], ["-1", "none"]),
    "inference.free_bits_kind": (["dimension", "total"], ["batch"]),
    "inference.pretrain_epochs": (["0", "5"], ["-1", "0.5", "20"]),
    "prior.n_steps": (["1"], ["0", "1e14"]),
    "prior.step_size": (["0.1", str([0.1] * 40)], ["0", "[0.1]", "true"]),
    "prior.noise_scale": (["0", "2"], ["-1"]),
    "training.n_epochs": (["1"], ["0", "NaN", "Infinity", "1e400", "0.5"]),
    "training.batch_size": (["1"], ["0"]),
    "training.batch_tokens": (["1"], ["0"]),
    "training.learning_rate": (["1e-5"], ["0", "-1", "1" + 400 * "0"]),
    "training.learning_rate_decay": (["1", "0.5"], ["0", "1.01"]),
    "training.schedule": (["constant", "linear", "cosine"], ["falling", "none"]),
    "training.schedule_start": (["0", "0.9"], ["1", "-0.1", "none"]),
    "training.prior_learning_rate": (["0", "0.1"], ["-1"]),
    "training.prior_weight_decay": (["0", "0.1"], ["-1"]),
    "training.prior_start_epoch": (["0", "2.5"], ["-1"]),
    "training.init": (["lm", "none", "runs/lm"], []),
    "training.init_epochs": (["1", "5"], ["-1", "0.5", "20"]),
    "training.clip_norm": (["0.1"], ["0"]),
    "training.prior_clip_norm": (["0.1"], ["0"]),
    "training.seed": (["0", str(2**63 - 1)], ["-1", str(2**63), "1.5"]),
    "training.precision": (["fp32", "bf16", "auto"], ["fp16"]),
    "training.n_threads": (["0", "8"], ["-1", "100000", "1" + 30 * "0"]),
    "training.report_every": (["1"], ["0", "1" + 5000 * "0"]),
    "training.checkpoint_every": (["1"], ["0"]),
    "training.validation_sentences": (["0", "500"], ["-1"]),
    "training.select": (["last", "valid", "valid_kn5"], ["best"]),
    "training.patience": (["1", "none"], ["0", "1.5", "-1"]),
}

# What other settings these need to have an effect.
NEEDS = {
    f"inference.{key}": ["inference.kind=amortized"]
    for key in ("kl_weight", "kl_weight_start", "free_bits", "free_bits_kind", "pretrain_epochs")
} | {
    "inference.learning_rate": ["inference.kind=local"],
    "training.init_epochs": ["training.init=lm", "training.init_epochs=2"],
    "training.schedule_start": ["training.schedule=linear"],
    "model.n_layers": ["model.generator=transformer"],
    "model.n_heads": ["model.generator=transformer"],
}
TEXTS = ("training.init",)  # take any text: it may be the path of a run


def _config(name: str) -> Config:
    """The defaults, of a kind that has a field of that name."""
    return Config().override(NEEDS.get(name, []))


def test_every_field_is_listed_here() -> None:
    kinds = [Config().override([f"inference.kind={kind}"]) for kind in ("short_run", "semi_amortized", "local")]
    found = {f"{s}.{key}" for config in kinds for s, values in config.to_dict().items() for key in values}
    assert found == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_takes_its_values(name: str) -> None:
    section, key = name.split(".")
    for text in FIELDS[name][0]:
        more = ["training.init_epochs=1"] if text == "lm" else []
        config = _config(name).override([f"{name}={text}", *more])
        value = config.to_dict()[section][key]
        if value is None or isinstance(value, str):
            assert text == ("none" if value is None else value)
        else:
            assert value == json.loads(text)
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_refuses_the_rest_by_its_name(name: str) -> None:
    odd = ["{}"] if name in TEXTS else ["{}", '"a b"', "[[" * 50_000]
    for text in [*FIELDS[name][1], *odd]:
        with pytest.raises(InputError) as error:
            _config(name).override([f"{name}={text}"])
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_refuses_what_overflows_in_float32(name: str) -> None:
    for text in ("1e300", "-1e300", "1e39", "1" + 400 * "0"):
        with pytest.raises(InputError, match=name):
            _config(name).override([f"{name}={text}"])


@pytest.mark.parametrize("name", FIELDS)
def test_types_are_never_guessed(name: str) -> None:
    section, key = name.split(".")
    stored = _config(name).to_dict()
    default = stored[section][key]
    wrong = 3 if isinstance(default, (str, bool)) or name in TEXTS else "3"
    for value in (wrong, {"a": 1}, [wrong]):
        with pytest.raises(InputError, match=name):
            Config.from_dict({**stored, section: {**stored[section], key: value}})
        if key != "kind":  # which a section in Python says by its class
            with pytest.raises(InputError, match=name):
                dataclasses.replace(getattr(_config(name), section), **{key: value})


@pytest.mark.parametrize(
    "assignment",
    ["training.seed", "training=3", "seed=3", "=3", "training.=3", ".seed=3", "", "training seed=3", "."],
)
def test_overrides_of_another_form_are_refused(assignment: str) -> None:
    with pytest.raises(InputError, match=r"section\.key=value"):
        Config().override([assignment])


@pytest.mark.parametrize(
    ("assignment", "part"),
    [
        ("trainin.seed=3", "did you mean training?"),
        ("training.sed=3", "did you mean training.seed?"),
        ("xyzzy.a=1", "known: text, model, inference, prior, generator, training"),
        ("prior.xyzzy=1", "prior.n_steps"),
        ("training.a.b=1", "training.a.b"),
    ],
)
def test_unknown_names_come_with_a_hint(assignment: str, part: str) -> None:
    with pytest.raises(InputError, match="unknown") as error:
        Config().override([assignment])
    assert part in str(error.value)


def test_unknown_keys_of_a_file_are_refused() -> None:
    wrong: list[dict[str, Any]] = [{"trainings": {}}, {"training": {"sede": 1}}, {"training": 3}, {"training": [1]}]
    for values in wrong:
        with pytest.raises(InputError, match=r"training|configuration"):
            Config.from_dict(values)


def test_overrides_apply_together_and_the_last_wins() -> None:
    config = Config().override(
        ["prior.step_size=[0.1, 0.2]", "prior.n_steps=2", "training.seed=3", " training.seed = 4 "]
    )
    assert config.prior.step_size == (0.1, 0.2)
    assert config.training.seed == 4
    assert Config() == Config().override([])
    assert config.override(["inference.noise_scale_start=0.1", "inference.noise_scale_start=none"]) == config


def test_step_sizes_must_fit_the_steps_also_later() -> None:
    config = Config().override(["inference.n_steps=2", "inference.step_size=[0.1, 0.2]"])
    with pytest.raises(InputError, match="2 values for 3 steps"):
        config.override(["inference.n_steps=3"])


def test_tied_weights_need_equal_widths() -> None:
    with pytest.raises(InputError, match="256 and 128"):
        Config().override(["model.tied=true", "model.hidden_dim=128"])
    assert Config().override(["model.tied=true"]).model.tied


@pytest.mark.parametrize(
    ("kinds", "idle", "reason"),
    [
        ([], "inference.kl_weight=0.5", "inference.kind = short_run"),
        ([], "inference.free_bits_kind=total", "inference.kind = short_run"),
        (["inference.kind=amortized"], "inference.n_steps=5", "inference.kind = amortized"),
        (["inference.kind=amortized"], "inference.persistent=false", "inference.kind = amortized"),
        (["inference.kind=semi_amortized"], "inference.noise_scale=0.5", "inference.kind = semi_amortized"),
        (["model.prior=gaussian"], "prior.n_steps=5", "model.prior = gaussian"),
        (["model.prior=gaussian"], "training.prior_learning_rate=0.1", "model.prior = gaussian"),
        (["model.prior=gaussian"], "model.energy_bound=3", "model.prior = gaussian"),
        (["model.latent_dim=0"], "prior.noise_scale=0.1", "model.prior = gaussian"),
        (["model.latent_dim=0"], "inference.anneal_epochs=2", "inference.kind = no_latent"),
        ([], "training.schedule_start=0.2", "training.schedule = constant"),
        ([], "prior.labels=a", "model.prior = ebm"),
        ([], "generator.adapt=lora", "model.generator = lstm"),
    ],
)
def test_settings_without_effect_are_refused(kinds: list[str], idle: str, reason: str) -> None:
    with pytest.raises(InputError) as error:
        Config().override([*kinds, idle])
    assert str(error.value) == f"{idle.partition('=')[0]} has no effect with {reason}"
    with pytest.raises(InputError, match="has no effect"):  # nor once the kinds are chosen
        Config().override(kinds).override([idle])


def test_settings_that_lose_their_effect_return_to_their_defaults() -> None:
    config = Config().override(["inference.n_steps=3", "inference.noise_scale=0.5", "prior.n_steps=4"])
    encoder = config.override(["inference.kind=amortized", "model.prior=gaussian"])
    assert encoder == Config().override(["inference.kind=amortized", "model.prior=gaussian"])
    refined = config.override(["inference.kind=semi_amortized"])
    assert (refined.to_dict()["inference"]["n_steps"], refined.prior.n_steps) == (3, 4)
    stored = config.to_dict()  # of a version that kept what has no effect, with all fields whatever the kind
    stored["model"]["prior"] = "gaussian"
    stored["inference"] |= {"kl_weight": 1.0, "kl_weight_start": None, "free_bits": 0.0, "pretrain_epochs": 0}
    assert Config.from_dict(stored) == config.override(["model.prior=gaussian"])
    assert "kl_weight" not in Config.from_dict(stored).to_dict()["inference"]


def test_a_language_model_is_one_setting() -> None:
    config = Config().override(["model.latent_dim=0"])
    assert (config.model.prior, config.inference.kind) == ("gaussian", "no_latent")
    again = Config().override(["model.latent_dim=0", "model.prior=gaussian", "inference.kind=no_latent"])
    assert again == config == Config.from_dict(config.to_dict())


@pytest.mark.parametrize(
    "assignments",
    [
        ["model.latent_dim=0", "model.prior=ebm"],
        ["model.latent_dim=0", "inference.kind=short_run"],
        ["inference.kind=no_latent"],
    ],
)
def test_a_language_model_has_no_z(assignments: list[str]) -> None:
    with pytest.raises(InputError, match=r"model\.latent_dim = 0"):
        Config().override(assignments)
    with pytest.raises(InputError, match=r"model\.latent_dim = 0"):  # nor is one made to have z again by half
        Config().override(["model.latent_dim=0"]).override(["model.latent_dim=8"])


@pytest.mark.parametrize(
    ("assignments", "part"),
    [
        (["training.init=lm"], "belong together, got 0 and lm"),
        (["training.init_epochs=2"], "belong together, got 2 and None"),
        (["training.init=runs/lm", "training.init_epochs=2"], "belong together, got 2 and runs/lm"),
        (["training.init=lm", "training.init_epochs=20"], "must be below training.n_epochs = 20, got 20"),
        (["training.prior_start_epoch=20"], "training.prior_start_epoch must be below training.n_epochs = 20, got 20"),
        (["training.init=lm", "training.init_epochs=2", "model.latent_dim=0"], "is a language model"),
        (["model.latent_dim=0", "model.z_dropout=0.1"], "no effect with model.latent_dim = 0"),
        (["training.select=last", "training.patience=2"], "nothing to look at with training.select = last"),
        *(
            (["inference.kind=amortized", "inference.pretrain_epochs=1", *start], "one or the other")
            for start in (["training.init=lm", "training.init_epochs=2"], ["training.init=runs/lm"])
        ),
        (
            ["model.generator=hf:x", "generator.adapt=full", "inference.kind=amortized", "inference.pretrain_epochs=1"],
            "take frozen or lora",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_refused(assignments: list[str], part: str) -> None:
    with pytest.raises(InputError) as error:
        Config().override(assignments)
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    # A language model may go on as one: the control of what starts as one.
    assert Config().override(["training.init=runs/lm", "model.latent_dim=0"]).training.init == "runs/lm"


def test_integers_pass_as_floats_and_whole_floats_as_integers() -> None:
    config = Config().override(["training.clip_norm=3", "training.seed=1e3"])
    assert isinstance(config.training.clip_norm, float)
    assert isinstance(config.training.seed, int)
    assert config.training.seed == 1000


def test_configurations_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().training.seed = 2  # type: ignore[misc]


assignments = st.lists(st.sampled_from([(name, text) for name in FIELDS for text in FIELDS[name][0]]), max_size=12)


@given(chosen=assignments)
def test_json_round_trip(chosen: list[tuple[str, str]]) -> None:
    try:
        config = Config().override(f"{name}={text}" for name, text in chosen)
    except InputError:  # values that are right alone need not fit together
        return
    stored = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert Config.from_dict(stored) == config
    assert Config.from_dict(stored).to_dict() == stored


positive = st.floats(1e-9, 10)


@given(sizes=st.lists(positive, min_size=1, max_size=8), weight=positive, noise=st.none() | positive)
def test_numbers_survive_exactly(sizes: list[float], weight: float, noise: float | None) -> None:
    values: dict[str, Any] = {
        "n_steps": len(sizes),
        "step_size": sizes,
        "likelihood_weight": weight,
        "noise_scale_start": noise,
    }
    config = Config.from_dict({"inference": values})
    assert config.to_dict()["inference"]["step_size"] == sizes
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Config().override([f"inference.{k}={json.dumps(v)}" for k, v in values.items()]) == config


def test_assignments_lead_from_one_configuration_to_another() -> None:
    base = Config()
    other = base.override(["training.n_epochs=3", "inference.step_size=[0.5,0.25]", "inference.n_steps=2"])
    assert other.differences(base) == {
        "inference.n_steps": 2,
        "inference.step_size": [0.5, 0.25],
        "training.n_epochs": 3,
    }
    assert base.override(other.assignments(base)) == other
    for name in ("runs/lm", "2024", "none", "true", '"a"', "[1]"):  # a text that looks like a number is quoted
        other = base.merge({"training": {"init": name}})
        assert base.override(other.assignments(base)) == other
    assert base.merge({"training": {"init": "runs/lm"}}).assignments(base) == ["training.init=runs/lm"]
    other = base.override(["training.n_epochs=3"])
    assert other.differences(other) == {}


def test_what_was_open_is_no_conflict_with_what_a_run_has_stored() -> None:
    asked = Config()
    stored = asked.override(["training.precision=bf16", "training.n_threads=2", "training.seed=5"])
    assert asked.conflicts(stored) == {"training.seed": 1}
    assert stored.conflicts(asked) == {"training.precision": "bf16", "training.n_threads": 2, "training.seed": 5}


def test_what_a_run_resolved_is_open_again_for_another_and_the_rest_is_kept() -> None:
    resolved = ["training.n_threads=2", "training.precision=bf16", "training.seed=7"]
    assert Config().override(resolved).reopened() == Config().override(resolved[2:])
    classes = Config().override(["model.prior=classes", "prior.n_steps=7"])
    assert classes.merge({"prior": {"labels": ["a", "b"]}}).reopened() == classes
    unlabelled = classes.merge({"prior": {"labels": ["a", "b"], "label_share": 0.0}})
    assert unlabelled.reopened() == unlabelled
    for name in PRESETS:
        assert preset(name).reopened() == preset(name)
    plugged = Config().override(["model.prior=a_module:A", "prior.labels=3"])
    assert plugged.reopened() == plugged


def test_a_finer_prior_chain_goes_as_far_in_twice_as_many_halves_of_steps() -> None:
    assert PriorConfig(3, 0.5).finer(0) == PriorConfig(3, 0.5)
    assert PriorConfig(3, 0.5, noise_scale=0.7).finer(2) == PriorConfig(12, 0.125, noise_scale=0.7)
    assert PriorConfig(2, (0.4, 0.2)).finer(1) == PriorConfig(4, (0.2, 0.2, 0.1, 0.1))
    with pytest.raises(InputError, match=r"halvings of prior.step_size must lie in \[0, 4\], got 5"):
        PriorConfig(3, 0.5).finer(5)


def test_a_section_is_no_dictionary() -> None:
    with pytest.raises(InputError, match=r"model must be ModelConfig\(…\), got dict; of dictionaries Config.from_dict"):
        Config(model={"hidden_dim": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": TextConfig()}, r"model must be ModelConfig\(…\), got TextConfig"),
        ({"generator": PriorConfig()}, r"generator must be GeneratorConfig\(…\), got PriorConfig"),
        ({"model": ModelConfig(prior="classes")}, r"model.prior = classes needs prior = ClassesConfig\(…\)"),
        ({"prior": ClassesConfig()}, r"model.prior = ebm needs prior = PriorConfig\(…\), got ClassesConfig"),
        (
            {"model": ModelConfig(generator="hf:x"), "text": TextConfig(tokenizer="hf")},
            r"model.generator = hf:x needs generator = PretrainedConfig\(…\), got GeneratorConfig; config.merge",
        ),
    ],
)
def test_sections_belong_to_their_places_and_to_the_parts_that_they_name(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Config(**sections)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], r"a configuration is \{section: \{key: value\}\}, got list"),
        ({1: {}}, "unknown configuration section 1; known: text"),
        ({"text": {2: 3}}, "unknown key text.2; known: text.tokenizer"),
    ],
)
def test_values_of_another_form_are_refused(values: Any, message: str) -> None:
    for read in (Config.from_dict, Config().merge):
        with pytest.raises(InputError, match=message):
            read(values)


def test_sections_and_keys_are_laid_over_each_other_whatever_their_form() -> None:
    mixed = {"training.batch_size": 32, "training": {"n_epochs": 5, "batch_size": 8}, "training.seed": 2, "x": 1}
    assert by_section(mixed) == {"training": {"batch_size": 8, "n_epochs": 5, "seed": 2}, "x": 1}
    for wrong in ({"training": 3, "training.seed": 2}, {"training.seed": 2, "training": 3}):
        with pytest.raises(InputError, match="'training' must hold keys, got 3"):
            Config().override(wrong)
