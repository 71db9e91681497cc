"""The report of a tiny model: its parts, their signs, and no likelihood without log Z."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from lebm_text.likelihood.report import Sentences, Settings, likelihood_report

from lebm_text.errors import InputError
from lebm_text.inference.chain import LangevinChain
from lebm_text.likelihood import report
from lebm_text.likelihood.sentences import AISSettings
from lebm_text.models.generator import LSTMGenerator
from lebm_text.text.batching import EncodedCorpus

from ..tiny import tiny_model
from .oracles import grid_log_a, grid_log_z

LINES = ["the cat sees a dog", "a dog", "the é sees", "dog", "the the a a cat"]
SETTINGS = Settings(
    n_ais=4,
    n_importance=5,
    ais=AISSettings(n_steps=40, n_moves=10),
    n_samples=300,
    n_bracket=12,
    partition_steps=40,
    partition_chains=8000,
)


@contextmanager
def _silent(_total: int, _what: str) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


def _text(model: Any) -> Sentences:
    corpus = EncodedCorpus(*model.tokenizer.encode_many(LINES))
    return Sentences(corpus, np.array([len(line.split()) + 1 for line in LINES]), None)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    model = tiny_model(init_range=0.6)
    made: dict[str, Any] = likelihood_report(model, _text(model), SETTINGS, _silent)
    return made


def test_it_is_strict_json(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_bounds_and_estimates_stand_in_their_order(found: dict[str, Any]) -> None:
    """Importance sampling and AIS estimate the same numbers; the bracket's lower side is below its upper one."""
    both = [row for row in found["sentences"] if row.get("log_p_importance") and "log_p_lower" in row]
    assert len(both) == 4
    for row in both:
        assert abs(row["log_p_importance"] - row["log_p_lower"]) < 4 * row["standard_error"] + 0.4
        assert -10 * row["n_tokens"] < row["log_p_lower"] < 0
    gap = found["bracket"]["gap"]
    assert gap["value"] > -4 * gap["standard_error"]
    assert found["bracket"]["lower"] <= found["bracket"]["upper"] + 4 * gap["standard_error"]


def test_totals_are_those_of_the_sentences(found: dict[str, Any]) -> None:
    rows = found["sentences"][:4]
    nll = -sum(row["log_p_lower"] for row in rows)
    words = sum(row["n_tokens"] for row in rows)
    assert found["ais"]["perplexity"] == pytest.approx(math.exp(nll / words))
    assert found["ais"]["n_words"] == words
    latent = found["latent"]
    assert latent["information"]["value"] == pytest.approx(nll / 4 - latent["reconstruction_nll"]["value"])


def test_sentences_below_the_ess_get_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(init_range=0.6)
    few = Settings(**{**SETTINGS.__dict__, "n_ais": 0, "n_samples": 50, "n_bracket": 0})
    made: dict[str, Any] = likelihood_report(model, _text(model), few, _silent)
    assert made["importance"]["n_reliable"] == 0
    assert made["importance"]["of_reliable"] is None
    assert {row["log_p_importance"] for row in made["sentences"]} == {None}
    assert made["ais"] is made["latent"] is made["bracket"] is None


def test_without_log_z_there_is_no_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ais_bounds", None)  # is never reached
    model = tiny_model(init_range=0.6)
    with pytest.raises(InputError, match="log Z is not known"):
        likelihood_report(
            model,
            _text(model),
            Settings(**{**SETTINGS.__dict__, "partition_steps": 2, "partition_chains": 4}),
            _silent,
        )


def test_a_gaussian_prior_needs_no_estimate() -> None:
    model = tiny_model(prior="gaussian")
    made: dict[str, Any] = likelihood_report(model, _text(model), Settings(n_ais=0, n_importance=0), _silent)
    assert made["log_z"]["forward"] == made["log_z"]["reverse"] == {"value": 0.0, "standard_error": 0.0}
    assert made["chain_gap"]["value"] == 0
    assert made["sentences"] == []


def test_every_figure_is_log_a_less_log_z_of_a_grid() -> None:
    model = tiny_model(latent_dim=2, init_range=1.2)
    text = _text(model)
    exact = copy.deepcopy(model.model).double()
    prior, generator = exact.prior, exact.generator
    assert isinstance(generator, LSTMGenerator)
    log_z = float(grid_log_z(prior))
    wanted = grid_log_a(prior, generator, text.corpus).detach() - log_z
    assert log_z < -0.5  # so that adding it would show
    ais = AISSettings(n_steps=10, n_chains=30, start="proposal", n_moves=2)
    settings = Settings(n_ais=5, n_importance=5, ais=ais, n_samples=2000, partition_steps=40, partition_chains=3000)
    made: dict[str, Any] = likelihood_report(model, text, settings, _silent)
    assert abs(made["log_z"]["reverse"]["value"] - log_z) < 0.02
    for row, log_p in zip(made["sentences"], wanted.tolist(), strict=True):
        assert abs(row["log_p_importance"] - log_p) < 0.08
        assert abs(row["log_p_lower"] - log_p) < 4 * row["standard_error"] + 0.02
    for method in (made["ais"], made["importance"]["of_reliable"]):
        assert method["nll"] == pytest.approx(-float(wanted.mean()), abs=0.05)


@pytest.mark.parametrize(("n_steps", "step_size", "least", "most"), [(1, 0.05, -2.0, -1.0), (500, 0.1, -0.1, 0.1)])
def test_a_short_chain_falls_short_of_the_density_and_a_long_one_reaches_it(
    n_steps: int, step_size: float, least: float, most: float
) -> None:
    model = tiny_model(latent_dim=2, init_range=1.2)
    model.model.prior.chain = LangevinChain(n_steps, step_size)  # type: ignore[misc]
    settings = Settings(n_ais=0, n_importance=0, partition_steps=40, partition_chains=3000)
    made: dict[str, Any] = likelihood_report(model, _text(model), settings, _silent)
    assert least < made["chain_gap"]["value"] < most


def test_an_encoder_has_its_divergence_from_the_prior_and_chains_have_none(found: dict[str, Any]) -> None:
    model = tiny_model(kind="amortized", prior="gaussian")
    settings = Settings(n_ais=4, n_importance=0, ais=AISSettings(n_steps=5, n_moves=2))
    made: dict[str, Any] = likelihood_report(model, _text(model), settings, _silent)
    encoder = model.model.encoder
    assert encoder is not None
    terms = []
    for i in range(4):
        with torch.no_grad():
            moments = encoder(_text(model).corpus.batch(np.array([i])))
        variance = moments.log_variance.exp()
        terms.append(float(0.5 * (variance + moments.mean.square() - 1 - moments.log_variance).sum()))
    assert made["encoder_kl"]["value"] == pytest.approx(sum(terms) / 4, rel=1e-4)
    assert "encoder_kl" not in found
