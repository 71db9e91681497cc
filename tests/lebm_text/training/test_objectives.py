"""The two losses: their formulas, and that their gradients are those of the log-likelihoods they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.models.priors import EBMPrior
from lebm_text.text.batching import BatchPlan
from lebm_text.training.trainer import generator_loss, prior_loss

from ..toy import LATENT, gap, normal, seeded, toy_corpus, toy_generator, toy_prior


def test_generator_loss_is_the_formula() -> None:
    values = normal(5)
    assert gap(generator_loss(values, 2.5), -values.sum() / 2.5) < 1e-15


def test_prior_loss_is_the_formula() -> None:
    prior, positive, negative = toy_prior(), normal(5, LATENT, seed=1), normal(5, LATENT, seed=2)
    f_positive, f_negative = prior.neg_energy(positive), prior.neg_energy(negative)
    assert gap(prior_loss(prior, positive, negative, 2.5), (f_negative - f_positive).sum() / 2.5) < 1e-14
    assert gap(f_positive.sum(), f_negative.sum()) > 1e-3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ebm_gradient_is_the_difference_of_expectations(seed: int) -> None:
    """∂/∂α of mean log p_α(z⁺), log Z by quadrature, against the loss with z⁻ at the quantiles of p_α.

    The quantiles' midpoint rule over M points is off by far less than 1/M of the gradient's range.
    """
    m = 4000
    prior = EBMPrior(1, hidden_dim=5, init_range=1.0, rng=seeded(seed)).double()
    positive = normal(m, 1, seed=seed) * 0.5 + 1
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    spacing = float(grid[1] - grid[0])

    log_z = prior.logdensity(grid[:, None]).logsumexp(0) + torch.tensor(spacing).log()
    log_likelihood = prior.logdensity(positive).mean() - log_z
    wanted = torch.autograd.grad(log_likelihood, list(prior.parameters()))

    with torch.no_grad():
        cumulative = (prior.logdensity(grid[:, None]).softmax(0)).cumsum(0)
    at = torch.searchsorted(cumulative, (torch.arange(m, dtype=torch.float64) + 0.5) / m).clamp_max(len(grid) - 1)
    negative = grid[at, None]
    found = torch.autograd.grad(-prior_loss(prior, positive, negative, m), list(prior.parameters()), allow_unused=True)
    for name, mine, theirs in zip(dict(prior.named_parameters()), found, wanted, strict=True):
        assert gap(torch.zeros_like(theirs) if mine is None else mine, theirs) < 2e-3, name
    assert max(float(g.abs().max()) for g in wanted) > 0.05


def test_expected_gradient_of_an_epoch_is_that_of_the_corpus() -> None:
    """The mean over batches of a batch's gradient, each divided by the mean batch size, is Σ_i ∇ log p(x_i) / N."""
    lengths = [1, 2, 2, 3, 5, 5, 6, 9, 9, 9, 9, 12, 12]
    corpus, generator = toy_corpus(lengths), toy_generator()
    plan = BatchPlan(corpus, batch_size=4, batch_tokens=24, seed=3)
    z, parameters = normal(len(lengths), LATENT), list(generator.parameters())

    def gradient(of: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(of, parameters)])

    sizes, steps = [], []
    for index in plan.epoch(0):
        batch = corpus.batch(index)
        sizes.append(len(index))
        steps.append(gradient(generator_loss(generator.log_likelihood(batch, z[batch.index]), plan.mean_batch_size)))
    assert len(set(sizes)) > 1  # else every divisor would do
    whole = corpus.batch(np.arange(len(lengths)))
    wanted = gradient(-generator.log_likelihood(whole, z[whole.index]).mean())
    assert gap(torch.stack(steps).mean(0), wanted) < 1e-12
