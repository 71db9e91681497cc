"""Presets: a base and their differences."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.presets import DEFAULT_PRESET, PRESETS, preset
from lebm_text.sections import INFERENCE


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_its_difference_from_the_defaults(name: str) -> None:
    found, base = preset(name).to_dict(), Config().to_dict()
    changes = PRESETS[name][1]
    base["inference"] = asdict(INFERENCE[found["inference"]["kind"]]())
    for section, values in found.items():
        for key, value in values.items():
            assert value == changes.get(section, {}).get(key, base[section][key])


def test_names_that_people_script_against() -> None:
    assert {"quick", "paper", "demo"} <= set(PRESETS)
    assert DEFAULT_PRESET in PRESETS
    assert all(PRESETS[name][0] for name in PRESETS)


def test_paper_has_the_papers_sizes() -> None:
    config = preset("paper")
    assert (config.model.embedding_dim, config.model.hidden_dim) == (512, 512)
    assert (config.model.latent_dim, config.model.prior_hidden_dim) == (32, 200)
    assert (config.prior.n_steps, config.to_dict()["inference"]["n_steps"]) == (40, 20)


@pytest.mark.parametrize(("name", "part"), [("qiuck", "did you mean quick?"), ("xyzzy", "known: quick")])
def test_unknown_preset(name: str, part: str) -> None:
    with pytest.raises(InputError, match="unknown preset") as error:
        preset(name)
    assert part in str(error.value)
