"""A posterior fitted to each sentence: PyTorch's Adam on the bound, the bound against a grid, rows by themselves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lebm_text.inference.base import Moments
from lebm_text.inference.local import Local
from lebm_text.inference.variational import base_kl, sample
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.random import KeyedRng
from lebm_text.text.batching import Batch

from ..toy import BOS, LATENT, VOCABULARY, gap, normal, seeded, toy_batch, toy_generator, toy_prior

LENGTHS = (6, 4, 4, 1)


def test_it_is_pytorchs_adam_on_the_bound_from_the_base() -> None:
    batch, generator, prior, rng = toy_batch(LENGTHS), toy_generator(), toy_prior(), seeded(3)
    mean, log_variance = (torch.zeros(4, LATENT, dtype=torch.float64, requires_grad=True) for _ in range(2))
    adam = torch.optim.Adam([mean, log_variance], lr=0.2)
    for _ in range(5):
        z = mean + (0.5 * log_variance).exp() * torch.randn(4, LATENT, generator=rng).double()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        loss = 0.6 * (kl - prior.neg_energy(z)) - generator.log_likelihood(batch, z)
        mean.grad, log_variance.grad = torch.autograd.grad(loss.sum(), [mean, log_variance])
        adam.step()
    result = Local(5, 0.2, 0.6)(batch, prior, generator, rng=seeded(3))
    wanted = Moments(mean.detach(), log_variance.detach())
    assert gap(result.start, wanted.mean) < 1e-12
    assert result.base_kl is not None
    assert gap(result.base_kl, base_kl(wanted)) < 1e-12
    assert gap(result.z, sample(wanted, torch.randn(4, LATENT, generator=rng).double())) < 1e-6
    assert not result.z.requires_grad
    assert all(parameter.grad is None for module in (prior, generator) for parameter in module.parameters())


def test_a_sentence_is_fitted_without_its_neighbours_and_without_gradients_on() -> None:
    prior, generator, batch, infer = toy_prior(), toy_generator(), toy_batch(LENGTHS), Local(16, 0.3)
    together = infer(batch, prior, generator, rng=KeyedRng(1, range(4))).z
    for row in range(4):
        single = batch.select(torch.tensor([row]))
        with torch.no_grad():
            alone = infer(single, prior, generator, rng=KeyedRng(1, (row,))).z
        assert gap(alone, together[row : row + 1]) < 1e-12


def test_steps_raise_the_bound() -> None:
    """Each of four sentences fitted 200 times, since one fit follows the noise of its draws."""
    generator, prior = toy_generator(init_range=1.5), GaussianPrior(LATENT)
    batch = toy_batch((6, 4, 4, 3)).select(torch.arange(4).repeat_interleave(200))

    def bound(moments: Moments) -> Tensor:
        with torch.no_grad():
            values = generator.likelihood(batch)(sample(moments, normal(800, LATENT, seed=8))) - base_kl(moments).sum(1)
        return values.view(4, 200).mean(1)

    start = Moments(*torch.zeros(2, 800, LATENT, dtype=torch.float64))
    few, many = (Local(n, 0.1).moments(batch, prior, generator, rng=seeded(1)) for n in (3, 16))
    assert bool((bound(many) > bound(start)).all())
    assert bound(start).sum() + 0.3 < bound(few).sum() < bound(many).sum() - 0.3


@pytest.mark.parametrize("tilted", [False, True])
def test_the_bound_lies_below_a_grids_integral_and_its_weights_at_it(tilted: bool) -> None:
    """E_q[p(x|z) exp(f(z)) p0(z) / q(z|x)] is p(x) Z, as it would not be had the fit seen the noise of the draw."""
    n = 4000
    sizes: dict[str, Any] = {"latent_dim": 1, "embedding_dim": 2, "hidden_dim": 3}
    generator = LSTMGenerator(VOCABULARY, bos_id=BOS, rng=seeded(2), init_range=1.3, **sizes).double()
    prior = EBMPrior(1, hidden_dim=4, init_range=1.0, rng=seeded(5)).double() if tilted else GaussianPrior(1)
    batch = Batch(torch.tensor([[4, 9, 6, 4, 3]]).expand(n, -1), torch.full((n,), 5), torch.arange(n))
    grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)
    infer = Local(8, 0.1)
    with torch.no_grad():
        first = batch.select(torch.tensor([0]))
        joint = generator.likelihood(first)(grid.view(-1, 1, 1))[:, 0] + prior.logdensity(grid[:, None])
        truth = float(joint.logsumexp(0) + math.log(float(grid[1] - grid[0])))
        moments = infer.moments(batch, prior, generator, rng=seeded(1))
        result = infer(batch, prior, generator, rng=seeded(1))
        q = torch.distributions.Normal(moments.mean, (0.5 * moments.log_variance).exp())
        log_likelihood = generator.likelihood(batch)(result.z)
        weights = log_likelihood + prior.logdensity(result.z) - q.log_prob(result.z).sum(-1)  # type: ignore[no-untyped-call]
        bound = log_likelihood - infer.penalty(result, prior)
    error = float(weights.exp().std() / weights.exp().mean()) / math.sqrt(n)
    assert error < 0.05
    assert abs(float(weights.logsumexp(0)) - math.log(n) - truth) < 4 * error
    assert float(bound.mean()) < truth - 4 * float(bound.std()) / math.sqrt(n)
