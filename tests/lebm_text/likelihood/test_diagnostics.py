"""Posterior chains, active units, the chain's gap, the KL of q and the bracket, where their values are known."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch

from lebm_text.build import build_inference
from lebm_text.likelihood.diagnostics import (
    THRESHOLD,
    Bracket,
    BracketLikelihood,
    LatentUse,
    Simulated,
    bracket,
    chain_gap,
    kl_from_prior,
    simulate,
    unit_variances,
)
from lebm_text.likelihood.estimates import Estimate, LogZ
from lebm_text.likelihood.sentences import AISBounds, AISSettings, annealing, chain_averages, sentence_rng
from lebm_text.models.priors import GaussianPrior, base_log_prob
from lebm_text.samplers.ais import anneal, lower_bound, upper_bound
from lebm_text.samplers.hmc import evaluate, hmc, normal_noise
from lebm_text.samplers.importance import LogMean
from lebm_text.text.batching import EncodedCorpus

from ..tiny import tiny_model
from ..toy import BOS, EOS, gap, normal, seeded
from .oracles import Linear, grid_log_a, text_model

LINES = ["the cat sees a dog", "a dog", "the é sees"]


def test_posterior_chains_have_the_means_of_the_posterior() -> None:
    """Chains that start at exact samples stay there; 400 of them, averaged over 30 of 60 steps."""
    model, n_chains = Linear(), 400
    mean, covariance = model.posterior()
    factor = torch.linalg.cholesky(covariance)
    exact = mean + normal(n_chains, len(model.x), 3, seed=3) @ factor.T
    terms = (base_log_prob, lambda z: 0 * z.sum(-1), model.likelihood)
    z, log_likelihood = chain_averages(
        terms,
        evaluate(terms, exact),
        step_size=torch.full((len(model.x),), 0.3, dtype=torch.float64),
        n_steps=60,
        rng=seeded(1),
    )
    error = z.std(0) / math.sqrt(n_chains)
    assert bool(((z.mean(0) - mean).abs() < 4.5 * error).all())
    # E log p(x|z) = log N(x; W m, σ²) − tr(W S Wᵀ) / 2σ²
    wanted = model.likelihood(mean) - 0.5 * torch.trace(model.weight @ covariance @ model.weight.T) / model.sigma**2
    error = log_likelihood.std(0) / math.sqrt(n_chains)
    assert bool(((log_likelihood.mean(0) - wanted).abs() < 4 * error).all())
    assert bool((z.var(0) < 0.6 * covariance.diagonal()).all())  # averages, not last states


@pytest.mark.parametrize(("n_steps", "kept"), [(1, 1), (5, 2), (6, 3)])
def test_averages_are_over_the_second_half_of_the_steps(n_steps: int, kept: int) -> None:
    model = Linear()
    terms = (base_log_prob, model.likelihood)
    state, size = evaluate(terms, normal(6, len(model.x), 3)), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    z, log_likelihood = chain_averages(terms, state, step_size=size, n_steps=n_steps, n_leapfrog=2, rng=seeded(4))
    rng, states = seeded(4), []
    for _ in range(n_steps):
        state, _ = hmc(terms, (1.0, 1.0), state, step_size=size, n_steps=1, n_leapfrog=2, rng=rng)
        states.append(state.z)
    last = torch.stack(states[-kept:])
    assert gap(z, last.mean(0)) < 1e-12
    assert gap(log_likelihood, torch.stack([model.likelihood(each) for each in last]).mean(0)) < 1e-12


def test_active_units_see_through_the_noise_of_few_chains() -> None:
    """Unit 0 ignores x: its means over 8 chains still vary by 1/8. Unit 1 varies with x by 0.25, unit 2 by 0.04."""
    n_chains, n = 8, 4000
    spread = torch.tensor([0.0, 0.5, 0.2], dtype=torch.float64)
    z = normal(n_chains, n, 3) + spread * normal(n, 3, seed=1)
    found = unit_variances(z)
    error = math.sqrt(2 / n) * (spread.square() + 1 / n_chains) * 1.2
    assert bool(((found - spread.square()).abs() < 4 * error).all())
    assert (found > THRESHOLD).tolist() == [False, True, True]


def test_a_generator_that_ignores_z_has_no_active_unit() -> None:
    """Averages along chains are sharp enough for 200 sentences: the posterior is the prior, for every sentence."""
    terms = (base_log_prob, lambda z: 0 * z.sum(-1))
    state, size = evaluate(terms, normal(8, 200, 3)), torch.full((200,), 1.2).double()
    z, _ = chain_averages(terms, state, step_size=size, n_steps=100, rng=seeded(1))
    assert not bool((unit_variances(z) > THRESHOLD).any())


def test_unit_variances_by_hand() -> None:
    """One unit, two chains, two sentences: means 2 and 5 vary by 4.5, chains within by 2 and 8, half of 5 goes."""
    z = torch.tensor([[[1.0], [3.0]], [[3.0], [7.0]]])
    assert unit_variances(z).tolist() == pytest.approx([4.5 - 5 / 2])


def test_every_figure_of_what_z_carries_is_its_definition() -> None:
    """With the reverse log Z, which keeps log p(x) no larger than it is."""
    log_z = LogZ(Estimate(0.5, 0.01), Estimate(0.51, 0.004), None, 12.0, "", 0.6)
    log_a, log_likelihood = torch.tensor([-9.0, -21.5, -4.25]), torch.tensor([-6.0, -18.0, -3.0])
    z = 0.01 * normal(8, 3, 2, seed=5) + torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.2, 1.0]])
    ais = AISBounds(LogMean(log_a, torch.ones(3), torch.ones(3)), torch.ones(3), z, log_likelihood)
    found = LatentUse.of(ais, log_z)
    carried = [like - (bound - 0.51) for like, bound in zip(log_likelihood.tolist(), log_a.tolist(), strict=True)]
    assert found.information is not None
    assert found.information.value == pytest.approx(statistics.fmean(carried), rel=1e-6)
    assert found.information.standard_error == pytest.approx(statistics.stdev(carried) / math.sqrt(3), rel=1e-6)
    assert found.reconstruction_nll is not None
    assert found.reconstruction_nll.value == pytest.approx(9.0)
    assert found.reconstruction_nll.standard_error == pytest.approx(statistics.stdev([6.0, 18.0, 3.0]) / math.sqrt(3))
    variances = [
        statistics.variance([statistics.fmean(chains) for chains in sentences])
        - statistics.fmean(map(statistics.variance, sentences)) / 8
        for sentences in z.permute(2, 1, 0).tolist()
    ]
    assert found.unit_variances == pytest.approx(variances)
    assert found.active_units == sum(variance > 0.01 for variance in variances) == 1
    few = LatentUse.of(ais._replace(z=z[:7]), log_z)
    assert (few.active_units, few.unit_variances, few.information) == (None, None, found.information)
    two = LatentUse.of(
        ais._replace(log_a=LogMean(*(log_a[:2],) * 3), z=z[:, :2], log_likelihood=log_likelihood[:2]), log_z
    )
    assert two.information is not None
    assert two.information.value == pytest.approx(statistics.fmean(carried[:2]), rel=1e-6)
    one = AISBounds(LogMean(*(log_a[:1],) * 3), log_a[:1], z[:, :1], log_likelihood[:1])
    assert LatentUse.of(one, log_z) == LatentUse(None, None, None, None)


def test_every_figure_of_a_bracket_is_its_definition() -> None:
    """The lower bound takes off the larger log Z and the upper one the smaller, so that each stays on its side."""
    log_z = LogZ(Estimate(0.5, 0.01), Estimate(0.51, 0.004), None, 12.0, "", 0.6)
    low, high = torch.tensor([-9.0, -21.5, -4.25]), torch.tensor([-8.0, -21.0, -4.5])
    found = BracketLikelihood.of(Bracket(low, high, 0.7), log_z)
    gaps = [1.01, 0.51, -0.24]
    assert (found.n_sentences, found.acceptance) == (3, 0.7)
    assert (found.lower, found.upper) == pytest.approx((-34.75 / 3 - 0.51, -33.5 / 3 - 0.5))
    assert found.gap is not None
    assert found.gap.value == pytest.approx(statistics.fmean(gaps))
    assert found.gap.standard_error == pytest.approx(statistics.stdev(gaps) / math.sqrt(3))
    assert found.largest_gap == pytest.approx(1.01)
    assert BracketLikelihood.of(Bracket(low[:1], high[:1], 0.7), log_z).gap is None


def test_chain_gap() -> None:
    chain, long = normal(300) + 2, normal(500, seed=1)
    found = chain_gap(chain, long)
    assert abs(found.value - float(chain.mean() - long.mean())) < 1e-12
    assert abs(found.standard_error - math.sqrt(float(chain.var()) / 300 + float(long.var()) / 500)) < 1e-12


class Tilted(GaussianPrior):
    """p_α = N(shift, I): f(z) = shift·z, log Z = ½ ‖shift‖²."""

    def __init__(self, shift: torch.Tensor) -> None:
        super().__init__(len(shift))
        self.shift = shift

    def neg_energy(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.shift


def _kl(shift: torch.Tensor, index: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What is found, and ½ Σ (σ² + (μ − shift)² − 1 − log σ²) of the same sentences."""
    model = tiny_model(kind="amortized")
    corpus = EncodedCorpus(*model.tokenizer.encode_many(LINES))
    encoder = model.model.encoder
    assert encoder is not None
    log_z = 0.5 * float(shift.square().sum())
    infer = build_inference(model.config.inference, encoder=encoder)
    assert infer.moments is not None
    of = (infer.moments, Tilted(shift), model.model.generator, corpus, np.array(index))
    found = kl_from_prior(*of, log_z=log_z, seed=seed)
    exact = []
    for i in index:
        moments = encoder(corpus.batch(np.array([i])))
        terms = moments.log_variance.exp() + (moments.mean - shift).square() - 1 - moments.log_variance
        exact.append(0.5 * terms.sum().detach())
    return found, torch.stack(exact).double()


def test_under_the_base_alone_it_is_exact() -> None:
    found, exact = _kl(torch.zeros(4), [0, 1, 2])
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_under_a_tilt_it_is_a_mean_over_draws() -> None:
    """f is linear, so its mean over 64 draws of q errs by ‖σ ∘ shift‖ / 8: within 4 of them, and not without."""
    shift = torch.tensor([0.5, -1.0, 0.0, 0.3])
    found, exact = _kl(shift, [2, 0])
    assert (found - exact).abs().max() < 4 * float(shift.norm()) * 1.5 / 8
    without, _ = _kl(torch.zeros(4), [2, 0])
    assert (without - exact).abs().max() > 0.3


def test_the_mean_is_over_64_draws_by_the_sentences_seed() -> None:
    shift, model = torch.tensor([0.5, -1.0, 0.0, 0.3]), tiny_model(kind="amortized")
    batch = EncodedCorpus(*model.tokenizer.encode_many(LINES)).batch(np.arange(3))
    assert model.model.encoder is not None
    mean, log_variance = (part.detach() for part in model.model.encoder(batch))
    noise = normal_noise(sentence_rng(5, batch, 3), mean.expand(64, 3, 4))
    f = ((mean + (0.5 * log_variance).exp() * noise) @ shift).mean(0)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    wanted = (kl - f + 0.5 * shift.square().sum()).double()
    torch.testing.assert_close(_kl(shift, [0, 1, 2], seed=5)[0][batch.index], wanted, rtol=1e-5, atol=1e-5)


def test_a_sentences_value_does_not_depend_on_the_others() -> None:
    shift = torch.tensor([0.5, -1.0, 0.0, 0.3])
    torch.testing.assert_close(_kl(shift, [2])[0], _kl(shift, [0, 1, 2])[0][2:], rtol=1e-5, atol=1e-5)


def test_bounds_hold_the_grid_value() -> None:
    """Mean over sentences; each side may miss it by 4 standard errors of its own."""
    _, generator, _ = text_model()
    prior = GaussianPrior(2)
    simulated = simulate(generator, normal(100, 2), eos_id=EOS, pad_id=0, max_length=8, seed=1)
    n = len(simulated.corpus)
    assert 20 < n < 100  # some were cut, and left out
    found = bracket(prior, generator, simulated, AISSettings(n_steps=20, n_chains=4), seed=1)
    truth = grid_log_a(prior, generator, simulated.corpus)
    below, above = truth - found.lower, found.upper - truth
    for margin in (below, above):
        assert float(margin.mean()) > -4 * float(margin.std()) / n**0.5
    assert float((below + above).mean()) < 0.5
    assert 0.3 < found.acceptance < 1


def test_a_bracket_is_both_annealings_under_one_schedule_written_out() -> None:
    """Backwards from the z that each sentence was drawn from."""
    prior, generator, _ = text_model()
    simulated = simulate(generator, normal(40, 2), eos_id=EOS, pad_id=0, max_length=8, seed=1)
    n, settings = len(simulated.corpus), AISSettings(n_steps=5, n_chains=3)
    assert n > 3
    found = bracket(prior, generator, simulated, settings, seed=4)
    batch, like = simulated.corpus.batch(np.arange(n)), torch.zeros(3, n, 2, dtype=torch.float64)
    rng = sentence_rng(4, batch, 2)
    terms, schedule, start = annealing(prior, generator.likelihood(batch), like, settings, rng)
    forward = anneal(terms, start(), schedule, rng=rng)
    reverse = anneal(terms, simulated.z[batch.index].expand(3, -1, -1), schedule, rng=rng, reverse=True)
    assert gap(found.lower[batch.index], lower_bound(forward).value) < 1e-9
    assert gap(found.upper[batch.index], upper_bound(reverse).value) < 1e-9
    assert found.acceptance == pytest.approx(float((forward.acceptance + reverse.acceptance).mean()) / 2)


def test_sentences_left_out_leave_with_their_z() -> None:
    _, generator, _ = text_model()
    z = normal(80, 2)
    kept = simulate(generator, z, eos_id=EOS, pad_id=0, max_length=5, seed=1)
    assert len(kept.corpus) == len(kept.z) < 80
    assert int(kept.corpus.lengths.max()) <= 6
    assert not {0, BOS} & set(kept.corpus.tokens.tolist())
    longer = simulate(generator, z, eos_id=EOS, pad_id=0, max_length=30, seed=1)
    assert len(longer.corpus) > len(kept.corpus)
    # Where more is left out each z still has the sentence that was drawn from it.
    assert _by_z(kept).items() <= _by_z(longer).items()


def _by_z(simulated: Simulated) -> dict[tuple[float, ...], list[int]]:
    corpus = simulated.corpus
    sentences = np.split(corpus.tokens, corpus.offsets[1:-1])
    return {tuple(z): ids.tolist() for z, ids in zip(simulated.z.tolist(), sentences, strict=True)}


def test_nothing_is_left() -> None:
    _, generator, _ = text_model()
    with torch.no_grad():
        generator.output_bias[EOS] = -1e4
    assert len(simulate(generator, normal(5, 2), eos_id=EOS, pad_id=0, max_length=5, seed=1).corpus) == 0
