"""The fitted Gaussian is a Gaussian posterior; importance sampling gives the closed form and the grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lebm_text.likelihood.sentences import joint
from lebm_text.models.priors import GaussianPrior, base_log_prob
from lebm_text.random import KeyedRng
from lebm_text.samplers.importance import WIDENING, Gaussian, fit_proposal, importance_sample, log_mean_exp

from ..likelihood.oracles import LENGTHS, Linear, grid_log_a, multivariate_log_prob, text_model
from ..toy import gap, normal, seeded


def test_a_gaussian_posterior_is_found() -> None:
    model = Linear()
    start = torch.zeros(len(model.x), 3, dtype=torch.float64)
    found = fit_proposal(joint(GaussianPrior(3), model.likelihood), start, rng=seeded(1))
    mean, covariance = model.posterior()
    assert gap(found.mean, mean) < 0.02
    assert gap(found.factor @ found.factor.mT / WIDENING**2, covariance.expand(len(model.x), 3, 3)) < 0.02
    assert float(covariance[0, 2].abs()) > 0.1  # so that a diagonal would not do


def test_draws_of_the_fit_come_in_opposite_pairs() -> None:
    """Their mean is μ exactly, which halves the noise of its gradient and more."""
    pairs = []

    def logdensity(z: Tensor) -> Tensor:
        if len(z) > 1:
            pairs.append(0.5 * (z[: len(z) // 2] + z[len(z) // 2 :]))
        return base_log_prob(z)

    fit_proposal(logdensity, normal(2, 3), rng=seeded(1))
    for middle in pairs:
        assert middle.shape == (4, 2, 3)
        assert gap(middle, middle[:1].expand_as(middle)) < 1e-12
    assert len(pairs) > 10


def test_steps_towards_the_mode_shorten_to_nothing() -> None:
    """Where the gradient is constant, Adam's step is as long as its rate: 0.05 (1 − i/20)."""
    means = []

    def logdensity(z: Tensor) -> Tensor:
        if len(z) == 1:
            means.append(z.detach()[0, 0].clone())
        return 3 * z.sum(-1)

    fit_proposal(logdensity, torch.zeros(1, 2, dtype=torch.float64), rng=seeded(1))
    lengths = torch.stack(means).diff(dim=0)
    wanted = 0.05 * (1 - torch.arange(19, dtype=torch.float64) / 20)
    assert len(means) == 20
    assert gap(lengths, wanted[:, None].expand_as(lengths)) < 1e-6


def test_linear_gaussian_model() -> None:
    """To 4 standard errors, of less than 0.01 nat."""
    model = Linear()
    target = joint(GaussianPrior(3), model.likelihood)
    start = torch.zeros(len(model.x), 3, dtype=torch.float64)
    found = importance_sample(
        target, fit_proposal(target, start, rng=seeded(1)), n_samples=10_000, at_once=1000, rng=seeded(2)
    )
    assert float(found.standard_error.max()) < 0.01
    assert bool(((found.value - model.log_prob()).abs() < 4 * found.standard_error).all())
    assert float(found.ess.min()) > 1000


def test_text_model_against_a_grid_to_a_hundredth_nat() -> None:
    prior, generator, corpus = text_model()
    batch = corpus.batch(np.arange(len(LENGTHS)))
    target = joint(prior, generator.likelihood(batch))
    proposal = fit_proposal(target, torch.zeros(len(LENGTHS), 2, dtype=torch.float64), rng=seeded(1))
    found = importance_sample(target, proposal, n_samples=100_000, at_once=5000, rng=seeded(2))
    wanted = grid_log_a(prior, generator, corpus)[batch.index]
    assert gap(found.value, wanted) < 0.01
    assert float(found.standard_error.max()) < 0.0025  # so that 0.01 is 4 standard errors


def test_a_bad_proposal_shows_in_the_ess_and_not_in_the_mean() -> None:
    """The share of the base keeps a proposal far from its target unbiased."""
    mean = torch.full((1, 3), 4.0, dtype=torch.float64)
    bad = Gaussian(mean, 0.1 * torch.eye(3, dtype=torch.float64).unsqueeze(0))
    found = importance_sample(base_log_prob, bad, n_samples=20_000, at_once=5000, rng=seeded(1))
    assert abs(float(found.value)) < 4 * float(found.standard_error)
    assert float(found.ess) < 0.1 * 20_000


def test_as_many_draws_are_made_as_asked_for() -> None:
    """40, at most 16 at a time."""
    sizes = []

    def logdensity(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return base_log_prob(z)

    proposal = Gaussian(torch.zeros(1, 3), torch.eye(3).unsqueeze(0))
    importance_sample(logdensity, proposal, n_samples=40, rng=seeded(1))
    assert sizes == [16, 16, 8]


def test_density_and_samples_of_the_proposal_belong_together() -> None:
    factor = torch.tril(normal(2, 3, 3), -1) + torch.diag_embed(normal(2, 3, seed=1).abs() + 0.3)
    q, noise = Gaussian(normal(2, 3, seed=2), factor), normal(7, 2, 3, seed=3)
    z = q.at(noise)
    wanted = multivariate_log_prob(z - q.mean, factor)
    assert gap(q.log_prob(z), wanted) < 1e-12


def test_a_sentence_draws_what_it_draws_alone() -> None:
    model = Linear()

    def run(rows: list[int]) -> Tensor:
        part = Linear()
        part.x = model.x[rows]
        target, rng = joint(GaussianPrior(3), part.likelihood), KeyedRng(1, rows)
        start = torch.zeros(len(rows), 3, dtype=torch.float64)
        return importance_sample(target, fit_proposal(target, start, n_steps=5, rng=rng), n_samples=40, rng=rng).value

    assert gap(run([0, 1, 2, 3])[2:3], run([2])) < 1e-9


def test_log_mean_and_its_error_are_those_of_the_weights() -> None:
    """The error by the delta method; the effective number is (Σw)² / Σw²."""
    logs = normal(50, 3)
    found, weights = log_mean_exp(logs), logs.exp()
    assert gap(found.value, weights.mean(0).log()) < 1e-12
    assert gap(found.standard_error, weights.std(0) / math.sqrt(50) / weights.mean(0)) < 1e-12
    assert gap(found.ess, weights.sum(0).square() / weights.square().sum(0)) < 1e-9


def test_weights_far_outside_the_range_of_floats() -> None:
    logs = normal(50, 3)
    near, far = log_mean_exp(logs), log_mean_exp(logs.float().double() - 5000)
    assert gap(near.value - 5000, far.value) < 1e-3
    assert gap(near.ess, far.ess) < 1e-3


def test_equal_weights_have_no_error_and_one_weight_has_none_that_is_known() -> None:
    equal = log_mean_exp(torch.full((8, 1), -3.0))
    assert abs(float(equal.value) + 3) < 1e-12
    assert float(equal.standard_error) < 1e-7
    assert abs(float(equal.ess) - 8) < 1e-9
    assert math.isnan(float(log_mean_exp(torch.zeros(1, 1)).standard_error))
