"""Scores of sentences: what they are made of, where z comes from, and on what they depend."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lebm_text.build import build_inference, build_model
from lebm_text.errors import InputError
from lebm_text.inference.short_run import ShortRun
from lebm_text.inference.variational import base_kl
from lebm_text.likelihood.estimates import Estimate, LogZ
from lebm_text.likelihood.sentences import AISSettings, sentence_rng
from lebm_text.model import LatentEBM
from lebm_text.reports import scores
from lebm_text.reports.scores import Scorer, ScoreSettings, SentenceScore, score_lines
from lebm_text.run import Run
from lebm_text.text.batching import EncodedCorpus

from ..tiny import tiny_model

SENTENCES = ["the cat sees a dog", "", "a dog", "the unknown é", "the cat sees a dog"]


def known(found: list[SentenceScore | None]) -> list[SentenceScore]:
    assert None not in found
    return [score for score in found if score is not None]


def encoder_model(**model: Any) -> LatentEBM:
    sizes = {"inference": {"kind": "amortized"}, "model": {"prior": "gaussian", **model}}
    plain = tiny_model()
    config = plain.config.merge(sizes)
    rng = torch.Generator().manual_seed(3)
    network = build_model(config, vocab_size=len(plain.tokenizer), bos_id=plain.tokenizer.bos_id, rng=rng)
    return LatentEBM(config, plain.tokenizer, network)


def plane(model: LatentEBM, sentence: str) -> tuple[Tensor, Tensor]:
    """log p̃(x, z) on a grid over the plane (N,), and log of each point's share of the integral over it."""
    axis = torch.linspace(-7, 7, 61)
    z = torch.cartesian_prod(axis, axis)
    joint = model.log_joint([sentence] * len(z), z, batch_size=2048).double()
    return joint, joint + 2 * torch.log(axis[1] - axis[0])


def test_one_draw_is_the_joint_at_the_end_of_its_chain() -> None:
    model = tiny_model()
    corpus = EncodedCorpus(*model.tokenizer.encode_many(SENTENCES))
    batch = corpus.batch(torch.arange(len(SENTENCES)).numpy())
    chain = ShortRun(n_steps=3, step_size=0.3)
    z = chain(batch, model.model.prior, model.model.generator, rng=sentence_rng(7, batch, 3)).z
    expected = torch.empty(len(SENTENCES))
    expected[batch.index] = model.log_joint([SENTENCES[i] for i in batch.index], z)
    found = known(Scorer(model, ScoreSettings(n_draws=1, seed=7))(SENTENCES))
    assert [-score.score for score in found] == pytest.approx(expected.tolist(), abs=1e-4)
    assert [score.n_tokens for score in found] == [6, 1, 3, 4, 6]
    assert [score.n_unk for score in found] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("as_trained", [False, True])
def test_chains_aim_at_the_posterior_and_not_at_the_target_of_training(as_trained: bool) -> None:
    model = tiny_model(latent_dim=2)
    model.config = model.config.override(["inference.likelihood_weight=6", "inference.step_size=0.25"])
    joint, mass = plane(model, SENTENCES[0])
    expected = float((joint * mass.softmax(0)).sum())
    settings = ScoreSettings(n_draws=256, n_steps=120, as_trained=as_trained)
    (found,) = known(Scorer(model, settings)(SENTENCES[:1]))
    # About 1 nat of standard deviation a draw, so 0.06 for 256, and the error of a finite step.
    assert (abs(-found.score - expected) < 0.25) is not as_trained


def test_scores_do_not_depend_on_how_a_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(tiny_model())
    whole = [score.score for score in known(scorer(SENTENCES))]
    apart = [known(scorer([sentence], first=i))[0].score for i, sentence in enumerate(SENTENCES)]
    assert apart == pytest.approx(whole, abs=1e-3)
    monkeypatch.setattr(scores, "ROWS", 1)
    assert [score.score for score in known(scorer(SENTENCES))] == pytest.approx(whole, abs=1e-3)
    assert abs(whole[0] - whole[4]) > 1e-2  # the same sentence at another place has noise of its own


def test_other_settings_are_other_scores() -> None:
    model = tiny_model()
    base = known(Scorer(model)(SENTENCES))[0].score
    for settings in (ScoreSettings(n_draws=2), ScoreSettings(seed=2), ScoreSettings(n_steps=6)):
        assert abs(known(Scorer(model, settings)(SENTENCES))[0].score - base) > 1e-3, settings


def test_steps_beyond_a_list_of_sizes_have_the_last_size() -> None:
    model = tiny_model()
    model.config = model.config.override(["inference.step_size=[0.3, 0.2, 0.1]"])
    sizes = [Scorer(model, ScoreSettings(n_steps=n))._chain for n in (2, 5)]
    assert [getattr(chain, "step_size", None) for chain in sizes] == [[0.3, 0.2], [0.3, 0.2, 0.1, 0.1, 0.1]]


def test_too_long_sentences_have_no_score_and_shift_no_other() -> None:
    scorer = Scorer(tiny_model())
    found = scorer([SENTENCES[0], "a " * 9, SENTENCES[2]])
    assert found[1] is None
    expected = known(scorer(SENTENCES))
    scored = [score.score for score in found if score is not None]
    assert scored == pytest.approx([expected[0].score, expected[2].score], abs=1e-3)
    assert scorer(["a " * 9]) == [None]


def test_a_language_model_has_the_exact_likelihood() -> None:
    model = tiny_model(latent_dim=0, prior="gaussian")
    found = known(Scorer(model)(SENTENCES))
    expected = model.log_joint(SENTENCES, torch.empty(len(SENTENCES), 0))
    assert [-score.score for score in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert {score.log_prior for score in found} == {0.0}


def test_the_bound_of_an_encoder_is_the_likelihood_less_the_divergence() -> None:
    model = encoder_model()
    batch = EncodedCorpus(*model.tokenizer.encode_many(SENTENCES[:1])).batch(torch.arange(1).numpy())
    assert model.model.encoder is not None
    divergence = float(base_kl(model.model.encoder(batch)).sum().detach())
    (found,) = known(Scorer(model)(SENTENCES[:1]))
    assert found.elbo is not None
    assert divergence > 0.01
    assert found.elbo == pytest.approx(found.log_likelihood - divergence, abs=1e-4)


def test_scores_and_bound_of_an_encoder_are_means_over_its_draws_with_their_energies() -> None:
    """E_q log p(x|z) + E_q f − KL(q‖p0), each sentence's draws one after the other from its stream."""
    model = tiny_model(kind="amortized", init_range=0.6)
    prior, generator, encoder = model.model.prior, model.model.generator, model.model.encoder
    batch = EncodedCorpus(*model.tokenizer.encode_many(SENTENCES[:1])).batch(torch.arange(1).numpy())
    infer, rng = build_inference(model.config.inference, encoder=encoder), sentence_rng(7, batch, 3)
    with torch.no_grad():
        draws = [infer(batch, prior, generator, rng=rng) for _ in range(3)]
        z, kl = torch.stack([draw.z for draw in draws]), draws[0].base_kl
        likelihood, energy = generator.likelihood(batch)(z).mean(), prior.neg_energy(z).mean()
        (found,) = known(Scorer(model, ScoreSettings(n_draws=3, seed=7))(SENTENCES[:1]))
        assert kl is not None and abs(float(energy)) > 0.01
        assert found.log_likelihood == pytest.approx(float(likelihood), abs=1e-4)
        assert found.log_prior == pytest.approx(float(prior.logdensity(z).mean()), abs=1e-4)
        assert found.elbo == pytest.approx(float(likelihood + energy - kl.sum()), abs=1e-4)


def test_log_z_is_taken_off_what_chains_give_and_the_likelihood_bound() -> None:
    settings = ScoreSettings(n_draws=1, bound=AISSettings(n_steps=3, n_chains=2, n_moves=1))
    less, more = (known(Scorer(tiny_model(), settings, log_z=log_z)(SENTENCES[:1]))[0] for log_z in (0.5, 2.0))
    assert less.log_p_lower is not None
    assert more.log_p_lower == pytest.approx(less.log_p_lower - 1.5)
    assert more.log_prior == pytest.approx(less.log_prior - 1.5)
    assert more.log_likelihood == less.log_likelihood


def test_log_z_of_a_run_is_the_estimate_from_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a bound from below remains one."""
    tiny_model().save_pretrained(tmp_path / "run")
    known = LogZ(Estimate(0.5, 0.001), Estimate(0.51, 0.001), None, 0.0, "", 1.0)
    monkeypatch.setattr(scores, "partition_of", lambda *_, **__: (known, torch.empty(0, 4)))
    assert Scorer.of_run(Run(tmp_path / "run"), log_z=True, device="cpu").log_z == 0.51


@pytest.mark.parametrize("log_z", [False, True])
@pytest.mark.parametrize("known", [0.0, 1.0])
def test_of_chains_too_short_and_of_log_z_it_is_said_once_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log_z: bool, known: float
) -> None:
    tiny_model().save_pretrained(tmp_path)
    found = LogZ(Estimate(known, 0.0), Estimate(0.0, 0.0), None, 0.0, "", 1.0)
    monkeypatch.setattr(scores, "partition_of", lambda *_, **__: (found, None))
    with caplog.at_level("INFO"):
        Scorer.of_run(Run(tmp_path), log_z=log_z)
    assert caplog.text.count("go only part of the way") == 1
    assert caplog.text.count("is estimated if asked for") == (not log_z)
    assert caplog.text.count("estimates of log Z differ by 1.000 nat") == (log_z and known > 0)


@pytest.mark.parametrize("kind", ["short_run", "amortized"])
def test_a_score_that_is_not_finite_is_refused_with_its_sentence(kind: str) -> None:
    model = tiny_model(kind=kind)
    with torch.no_grad():
        for weight in model.model.generator.parameters():
            weight.mul_(1e20)
    with pytest.raises(InputError, match="score of sentence 4 is not finite"):
        Scorer(model)(["a " * 9, "the cat"], first=2)


def test_chains_have_the_noise_of_the_posterior_whatever_training_had() -> None:
    model = tiny_model()
    plain = known(Scorer(model)(SENTENCES))[0]
    model.config = model.config.override(["inference.noise_scale=0.2"])
    assert known(Scorer(model)(SENTENCES))[0] == plain
    assert known(Scorer(model, ScoreSettings(as_trained=True))(SENTENCES))[0] != plain


def test_too_short_chains_are_told_the_steps_that_cure_them() -> None:
    """Of where a chain begins e^(−Σ s²/2) is left: at s = 1/2 it takes 15 steps until that is a sixth, e^−1.8."""
    model = tiny_model()
    model.config = model.config.override(["inference.step_size=0.5"])
    short, enough = (Scorer(model, ScoreSettings(n_steps=n)).bias for n in (7, 15))
    assert short is not None and "chains of 7 steps" in short and "; 15 steps or more" in short
    assert enough is None
    assert Scorer(model, ScoreSettings(n_steps=14)).bias is not None
    model.config = model.config.override(["inference.step_size=0.3"])
    assert "; 40 steps or more" in str(Scorer(model, ScoreSettings(n_steps=3)).bias)
    assert Scorer(model, ScoreSettings(n_steps=40)).bias is None


@pytest.mark.parametrize("kind", ["amortized", "local"])
def test_log_z_is_taken_off_prior_and_bound(kind: str) -> None:
    model = tiny_model(kind=kind)
    without, with_it = (known(Scorer(model, log_z=log_z)(SENTENCES))[0] for log_z in (None, 1.5))
    assert without.elbo is not None
    assert with_it.elbo == pytest.approx(without.elbo - 1.5)
    assert with_it.log_prior == pytest.approx(without.log_prior - 1.5)
    assert Scorer(model).log_z is None
    assert Scorer(encoder_model()).log_z == 0.0


def test_the_likelihood_bound_is_near_the_integral_and_keyed_by_place() -> None:
    model = tiny_model(latent_dim=2, prior="gaussian")
    expected = [float(plane(model, sentence)[1].logsumexp(0)) for sentence in SENTENCES[:2]]
    scorer = Scorer(model, ScoreSettings(n_draws=1, bound=AISSettings(n_steps=50, n_chains=16, n_moves=2)))
    found = known(scorer(SENTENCES[:2]))
    assert [score.log_p_lower for score in found] == pytest.approx(expected, abs=0.2)
    (alone,) = known(scorer(SENTENCES[1:2], first=1))
    assert alone.log_p_lower == pytest.approx(found[1].log_p_lower, abs=1e-4)
    (elsewhere,) = known(scorer(SENTENCES[1:2], first=2))
    assert elsewhere.log_p_lower != alone.log_p_lower


def test_refuses_what_a_model_does_not_have() -> None:
    language_model = tiny_model(latent_dim=0, prior="gaussian")
    for model, settings in itertools.product(
        (language_model, encoder_model(), tiny_model(kind="local")),
        (ScoreSettings(n_steps=3), ScoreSettings(as_trained=True)),
    ):
        with pytest.raises(InputError, match="without a chain"):
            Scorer(model, settings)
    with pytest.raises(InputError, match="log Z"):
        Scorer(tiny_model(), ScoreSettings(bound=AISSettings()))
    with pytest.raises(InputError, match="exactly"):
        Scorer(language_model, ScoreSettings(bound=AISSettings()))


def test_the_first_lines_are_scored_before_the_rest_is_read() -> None:
    taken = []

    def lines() -> Iterator[str]:
        for i in range(100):
            taken.append(i)
            yield "a dog"

    next(score_lines(Scorer(tiny_model(), ScoreSettings(n_draws=1)), lines()))
    assert len(taken) <= 16


def test_inference_without_a_chain_draws_as_often_as_is_asked_for() -> None:
    """A plug-in need not have a chain, nor a density of what it draws."""
    named = tiny_model(kind="tests.lebm_text.test_plugins:Constant")
    model = LatentEBM(named.config.with_plugins(trust_plugins=True), named.tokenizer, named.model)
    encoder: Any = model.model.encoder
    expected = model.log_joint(["a dog"], encoder(torch.ones(1, 1)).detach())
    (score,) = known(Scorer(model, ScoreSettings(n_draws=3))(["a dog"]))
    assert -score.score == pytest.approx(expected.item(), abs=1e-4)
