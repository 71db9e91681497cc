"""The report of a tiny model: its parts, their signs, and no likelihood without log Z."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text.errors import InputError
from lebm_text.inference.short_run import LangevinChain
from lebm_text.likelihood.estimates import Estimate, LogZ, Text
from lebm_text.model import LatentEBM
from lebm_text.processes import ALONE
from lebm_text.progress import silent
from lebm_text.reports import likelihood, load
from lebm_text.reports.likelihood import (
    AISSettings,
    Likelihood,
    LikelihoodSettings,
    TextDescription,
    _chain_gap,
    _estimated,
    _exact,
    _read,
)
from lebm_text.reports.posterior import shuffled
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.corpora import find_corpus

from ..likelihood.oracles import grid_log_a, grid_log_z
from ..tiny import tiny_model

LINES = ["the cat sees a dog", "a dog", "the é sees", "dog", "the the a a cat"]
SETTINGS = LikelihoodSettings(
    n_ais=4,
    n_importance=5,
    ais=AISSettings(n_steps=40, n_moves=10),
    n_samples=300,
    n_bracket=12,
    partition_steps=40,
    partition_chains=8000,
)


def _text(model: LatentEBM) -> Text:
    corpus = EncodedCorpus(*model.tokenizer.encode_many(LINES))
    return Text(corpus, np.array([len(line.split()) + 1 for line in LINES]), None)


def _made(model: LatentEBM, **changes: Any) -> Likelihood:
    settings = replace(SETTINGS, **changes)
    described = TextDescription("toy", "test", "", len(LINES), 0, 20, 0)
    empty = Likelihood(signature="log_p", corpus=described, settings=settings, sha256={}, versions={})
    return _estimated(empty, model, _text(model), settings, silent, ALONE)


def _json(model: LatentEBM, **changes: Any) -> dict[str, Any]:
    return _made(model, **changes).to_json()


@pytest.fixture(scope="module")
def report() -> Likelihood:
    return _made(tiny_model(init_range=0.6))


@pytest.fixture(scope="module")
def found(report: Likelihood) -> dict[str, Any]:
    return report.to_json()


def test_it_is_strict_json_that_is_read_again(report: Likelihood, found: dict[str, Any]) -> None:
    assert Likelihood.from_json(json.loads(json.dumps(found, allow_nan=False))) == report


def test_the_picture_has_every_bound_and_every_dimension(report: Likelihood) -> None:
    pytest.importorskip("matplotlib")
    figure = report.figure()
    assert figure is not None
    sentences, units = figure.axes
    bounds = [(row.n_tokens, -row.log_p_lower) for row in report.sentences if row.log_p_lower is not None]
    assert len(bounds) == 4
    assert np.asarray(sentences.lines[0].get_xydata()) == pytest.approx(np.asarray(bounds))
    assert report.latent is not None and report.latent.unit_variances is not None
    ranked = [max(variance, 1e-6) for variance in sorted(report.latent.unit_variances, reverse=True)]
    assert ranked != report.latent.unit_variances and ranked[1] > 1e-6 == ranked[3]  # an estimate may be below 0
    assert np.asarray(units.lines[0].get_xydata()) == pytest.approx(np.asarray(list(enumerate(ranked, 1))))
    assert replace(report, sentences=[], latent=None).figure() is None


def test_reports_of_version_0_1_0_are_read() -> None:
    path = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval" / "likelihood-test.json"
    report, old = load(path), json.loads(path.read_text())
    assert isinstance(report, Likelihood)
    new = report.to_json()
    assert {key: new[key] for key in old if key not in ("metric", "settings")} == {
        key: value for key, value in old.items() if key not in ("metric", "settings")
    }
    assert new["settings"].items() >= old["settings"].items()


def test_bounds_and_estimates_stand_in_their_order(found: dict[str, Any]) -> None:
    """Importance sampling and AIS estimate the same numbers; the bracket's lower side is below its upper one."""
    both = [row for row in found["sentences"] if row["log_p_importance"] and row["log_p_lower"]]
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


def test_sentences_below_the_ess_get_no_value() -> None:
    model = tiny_model(init_range=0.6)
    made = _json(model, n_ais=0, n_samples=50, n_bracket=0)
    assert made["importance"]["n_reliable"] == 0
    assert made["importance"]["of_reliable"] is None
    assert {row["log_p_importance"] for row in made["sentences"]} == {None}
    assert made["ais"] is made["latent"] is made["bracket"] is None


def test_words_are_what_the_judges_count(tmp_path: Path) -> None:
    """No-break spaces and their kin belong to a word: perplexity per word divides by what an n-gram judge counts."""
    line = "the\u00a0cat sees\u3000a\x1cdog \x85"
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"{line}\n", encoding="utf-8")
    corpus = find_corpus(str(tmp_path))
    text, _ = _read(corpus, "test", tiny_model())
    assert text.words.tolist() == [4]  # with `</s>`


def test_bytes_are_those_of_the_line_with_its_end_where_the_tokenizer_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("the é sees\n", encoding="utf-8")
    model, corpus = tiny_model(), find_corpus(str(tmp_path))
    assert _read(corpus, "test", model)[0].n_bytes is None
    monkeypatch.setattr(type(model.tokenizer), "kind", "sentencepiece")
    n_bytes = _read(corpus, "test", model)[0].n_bytes
    assert n_bytes is not None
    assert n_bytes.tolist() == [12]


def test_a_text_is_read_in_the_order_of_all_models_and_what_is_left_out_or_unknown_is_counted(tmp_path: Path) -> None:
    lines = ["the cat", "a " * 9, "a zebra sees", "dog", "a red zebra sees the cat"]
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    text, described = _read(find_corpus(str(tmp_path)), "test", tiny_model())
    order = [i for i in shuffled(range(5), 0) if i != 1]  # the second has 9 tokens, and the model takes 8
    assert order != sorted(order)
    assert text.words.tolist() == text.corpus.lengths.tolist() == [len(lines[i].split()) + 1 for i in order]
    assert (described.n_sentences, described.n_left_out, described.n_tokens, described.n_unk) == (4, 1, 16, 3)


def test_a_language_model_has_the_figures_of_the_first_sentences_and_of_all() -> None:
    model = tiny_model(latent_dim=0, prior="gaussian")
    described = TextDescription("toy", "test", "", len(LINES), 0, 20, 0)
    empty = Likelihood(signature="log_p", corpus=described, sha256={}, versions={})
    found = _exact(empty, model, _text(model), 2, silent)
    nll = [-value for value in model.log_joint(LINES, torch.empty(len(LINES), 0)).tolist()]
    assert found.exact is not None and found.exact_of_all is not None
    for n, text in ((2, found.exact), (5, found.exact_of_all)):
        assert text.n_sentences == n
        assert text.nll == pytest.approx(sum(nll[:n]) / n, rel=1e-5)
    assert found.exact.nll_sampling_error is None
    assert _exact(empty, model, _text(model), 0, silent).exact is None


def test_the_chains_that_generate_have_noise_of_their_own() -> None:
    model = tiny_model()
    samples = model.model.prior.sample(50, torch.Generator().manual_seed(3))
    assert abs(_chain_gap(model, samples, 3).value) > 1e-4
    assert _chain_gap(model, samples, 2).value == 0  # which are these very chains


def test_without_log_z_there_is_no_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "ais_bounds", None)  # is never reached
    with pytest.raises(InputError, match="log Z is not known"):
        _made(tiny_model(init_range=0.6), partition_steps=2, partition_chains=4)


def test_a_gaussian_prior_needs_no_estimate() -> None:
    made = _json(tiny_model(prior="gaussian"), n_ais=0, n_importance=0, n_bracket=0)
    assert made["log_z"]["forward"] == made["log_z"]["reverse"] == {"value": 0.0, "standard_error": 0.0}
    assert made["chain_gap"]["value"] == 0
    assert made["sentences"] == []


def test_every_figure_is_log_a_less_log_z_of_a_grid() -> None:
    model = tiny_model(latent_dim=2, init_range=1.2)
    text = _text(model)
    exact = copy.deepcopy(model.model).double()
    prior, generator = exact.prior, exact.generator
    log_z = float(grid_log_z(prior))
    wanted = grid_log_a(prior, generator, text.corpus).detach() - log_z
    assert log_z < -0.5  # so that adding it would show
    ais = AISSettings(n_steps=10, n_chains=30, start="proposal", n_moves=2)
    made = _json(model, n_ais=5, ais=ais, n_samples=2000, n_bracket=0, partition_chains=3000)
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
    made = _json(model, n_ais=0, n_importance=0, n_bracket=0, partition_chains=3000)
    assert least < made["chain_gap"]["value"] < most


def test_an_encoder_has_its_divergence_from_the_prior_and_chains_have_none(found: dict[str, Any]) -> None:
    model = tiny_model(kind="amortized", prior="gaussian")
    made = _json(model, n_importance=0, n_bracket=0, ais=AISSettings(n_steps=5, n_moves=2))
    encoder = model.model.encoder
    assert encoder is not None
    terms = []
    for i in range(4):
        with torch.no_grad():
            moments = encoder(_text(model).corpus.batch(np.array([i])))
        variance = moments.log_variance.exp()
        terms.append(float(0.5 * (variance + moments.mean.square() - 1 - moments.log_variance).sum()))
    assert made["encoder_kl"]["value"] == pytest.approx(sum(terms) / 4, rel=1e-4)
    assert found["encoder_kl"] is None


def test_log_z_is_part_of_the_divergence_from_a_learned_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(q‖p_α) = E_q[log q − log p0 − f] + log Z."""
    model, found = tiny_model(kind="amortized"), []
    samples = model.model.prior.sample(9, torch.Generator().manual_seed(3))
    for value in (0.0, 1.5):
        log_z = LogZ(Estimate(value, 0.0), Estimate(value, 0.0), None, 0.0, "", 1.0)
        monkeypatch.setattr(likelihood, "partition_of", lambda *_, log_z=log_z, **__: (log_z, samples))
        made = _made(model, n_importance=0, n_bracket=0, ais=AISSettings(n_steps=5, n_moves=2))
        assert made.encoder_kl is not None
        found.append(made.encoder_kl.value)
    assert found[1] == pytest.approx(found[0] + 1.5)


@pytest.mark.parametrize("kind", ["local", "semi_amortized"])
def test_a_fitted_posterior_has_its_divergence_from_the_prior(kind: str) -> None:
    """Infinite only if nothing were fitted: positive, and below that which the bound on log p(x) leaves room for."""
    model = tiny_model(kind=kind, prior="gaussian")
    made = _json(model, n_importance=0, n_bracket=0, ais=AISSettings(n_steps=5, n_moves=2))
    assert 0 < made["encoder_kl"]["value"] < 20
