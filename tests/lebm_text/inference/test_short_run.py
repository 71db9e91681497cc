"""The posterior chain: its density, its independence, its memory, and its law on a posterior that a grid knows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.random import KeyedRng
from lebm_text.samplers.langevin import langevin
from lebm_text.text.batching import Batch

from ..toy import BOS, LATENT, VOCABULARY, gap, normal, seeded, toy_batch, toy_corpus, toy_generator, toy_prior

LENGTHS = (6, 4, 4, 1)
N = len(LENGTHS)


def _drift(weight: float, *, noise_scale: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z⁺ − start of one step of size 1/2, then start, ∇ log prior and ∇ log p(x|z) there."""
    prior, generator, batch = toy_prior(), toy_generator(), toy_batch(LENGTHS)
    memory = normal(N, LATENT, seed=6)
    start = memory[batch.index].clone().requires_grad_()
    (of_prior,) = torch.autograd.grad(prior.logdensity(start).sum(), start)
    (of_likelihood,) = torch.autograd.grad(generator.log_likelihood(batch, start).sum(), start)
    chain = ShortRun(1, 0.5, noise_scale, weight, memory)
    result = chain(batch, prior, generator, rng=seeded(2))
    assert torch.equal(result.start, start.detach())
    return result.z - result.start, start, of_prior, of_likelihood


@pytest.mark.parametrize("weight", [1.0, 0.3, 8.0])
def test_likelihood_weight_multiplies_the_likelihoods_gradient(weight: float) -> None:
    moved, _, of_prior, of_likelihood = _drift(weight)
    assert gap(moved, 0.125 * (of_prior + weight * of_likelihood)) < 1e-12
    assert float(of_likelihood.abs().max()) > 0.1


def test_noise_scale_multiplies_the_noise() -> None:
    quiet, (loud, *_) = _drift(1.0)[0], _drift(1.0, noise_scale=0.6)
    noise = torch.randn(N, LATENT, generator=seeded(2)).double()
    assert gap(loud - quiet, 0.5 * 0.6 * noise) < 1e-12


def test_a_chain_reports_its_own_settings_and_how_far_it_went() -> None:
    prior, generator, batch = toy_prior(dtype=torch.float32), toy_generator(dtype=torch.float32), toy_batch(LENGTHS)
    chain = ShortRun(3, (0.4, 0.5, 0.1), noise_scale=0.7, likelihood_weight=2.0)
    result = chain(batch, prior, generator, rng=seeded())
    moves = [math.dist(z, start) for z, start in zip(result.z.tolist(), result.start.tolist(), strict=True)]
    assert chain.figures(result) == {
        "likelihood_weight": 2.0,
        "noise_scale": 0.7,
        "move_positive": pytest.approx(sum(moves) / N),
    }
    assert (chain.largest_step, ShortRun(3, 0.2).largest_step) == (0.5, 0.2)


def test_a_chain_with_other_settings_repeats_its_last_step() -> None:
    chain = LangevinChain(3, (0.4, 0.5, 0.1), 0.7)
    assert chain.adapted(n_steps=5) == LangevinChain(5, [0.4, 0.5, 0.1, 0.1, 0.1], 0.7)
    assert chain.adapted(n_steps=2, noise_scale=0.0) == LangevinChain(2, [0.4, 0.5], 0.0)
    assert chain.adapted(noise_scale=1.0) == LangevinChain(3, [0.4, 0.5, 0.1], 1.0)
    weighted = ShortRun(3, 0.4, likelihood_weight=2.0)
    assert weighted.adapted(n_steps=9) == ShortRun(9, 0.4, likelihood_weight=2.0)


def test_the_distance_of_a_chain_is_half_the_sum_of_its_squared_steps() -> None:
    """The time that the diffusion has run."""
    assert LangevinChain(3, (0.4, 0.5, 0.1), 0.7).distance == pytest.approx((0.16 + 0.25 + 0.01) / 2)
    assert LangevinChain(3, 0.4).distance == pytest.approx(3 * 0.16 / 2)


def test_a_posterior_chain_does_not_depend_on_its_neighbours() -> None:
    prior, generator, batch = toy_prior(), toy_generator(), toy_batch(LENGTHS)
    memory = normal(N, LATENT, seed=6)  # in float64, as the chain is then
    keys = tuple(range(10, 10 + N))
    together = ShortRun(5, 0.4, memory=memory.clone())(batch, prior, generator, rng=KeyedRng(1, keys)).z
    for row in range(N):  # each a batch of one
        chain = ShortRun(5, 0.4, memory=memory.clone())
        alone = chain(batch.select(torch.tensor([row])), prior, generator, rng=KeyedRng(1, keys[row : row + 1])).z
        assert alone.shape == (1, LATENT)
        assert gap(alone, together[row : row + 1]) < 1e-12


def test_cold_start_is_the_base_distribution_from_the_stream() -> None:
    prior, generator = toy_prior(dtype=torch.float32), toy_generator(dtype=torch.float32)
    result = ShortRun(2, 0.4)(toy_batch(LENGTHS), prior, generator, rng=seeded(3))
    assert torch.equal(result.start, torch.randn(N, LATENT, generator=seeded(3)))
    again = ShortRun(2, 0.4)(toy_batch(LENGTHS), prior, generator, rng=seeded(3))
    assert torch.equal(again.z, result.z)


def test_no_parameter_gets_a_gradient() -> None:
    prior, generator = toy_prior(dtype=torch.float32), toy_generator(dtype=torch.float32)
    z = ShortRun(3, 0.4)(toy_batch(LENGTHS), prior, generator, rng=seeded()).z
    assert not z.requires_grad
    for module in (prior, generator):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_persistent_chains_remember_by_sentence() -> None:
    prior, generator, corpus = toy_prior(), toy_generator(), toy_corpus([3, 5, 2, 4, 1])
    memory = normal(5, LATENT, seed=1)
    before, chain = memory.clone(), ShortRun(2, 0.4, memory=memory)
    batch = corpus.batch(np.array([2, 3, 0]))
    assert batch.index.tolist() == [3, 0, 2]  # longest first
    first = chain(batch, prior, generator, rng=seeded(1))
    assert torch.equal(first.start, before[[3, 0, 2]])
    assert torch.equal(memory[[3, 0, 2]], first.z)
    assert torch.equal(memory[[1, 4]], before[[1, 4]])
    second = chain(corpus.batch(np.array([0, 1])), prior, generator, rng=seeded(1))
    assert torch.equal(second.start, torch.stack([before[1], first.z[1]]))


def _silence(generator: LSTMGenerator) -> LSTMGenerator:
    """Without a path from z to the words."""
    with torch.no_grad():
        for weight in (generator.latent_weight, generator.initial_h.weight, generator.initial_c.weight):
            weight.zero_()
    return generator


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_flat_likelihood_gives_the_prior_chain(weight: float) -> None:
    """Not in law alone: with the same start and noise, the same chain."""
    prior, generator = toy_prior(), _silence(toy_generator())
    start = normal(N, LATENT, seed=4)
    found = ShortRun(20, 0.5, 1.0, weight, start.clone())(toy_batch(LENGTHS), prior, generator, rng=seeded(9))
    wanted = langevin(prior.logdensity, found.start, step_size=0.5, n_steps=20, rng=seeded(9))
    assert gap(found.z, wanted) < 1e-12
    assert gap(found.z, found.start) > 0.1


def _moments(log_density: Tensor, grid: Tensor) -> tuple[float, float, float]:
    """Mean, variance and fourth central moment by quadrature."""
    probability = log_density.softmax(0)
    mean = float((probability * grid).sum())
    variance, fourth = (float((probability * (grid - mean) ** power).sum()) for power in (2, 4))
    return mean, variance, fourth


@pytest.mark.parametrize(("tilted", "weight"), [(False, 1.0), (True, 3.0)])
def test_text_posterior_of_one_dimension_is_that_of_a_grid(tilted: bool, weight: float) -> None:
    """Mean and variance of M chains against quadrature of p(z) p(x|z)^γ.

    The chain's own bias: on a Gaussian of precision λ it has 1/(1 − λs²/4) times the variance, and its start is
    forgotten as (1 − λs²/2)^K. Allowed are that share for the grid's largest λ, and 4 standard errors.
    """
    n_chains, n_steps, size = 3000, 120, 0.25
    sizes = {"latent_dim": 1, "embedding_dim": 2, "hidden_dim": 3, "bos_id": BOS, "init_range": 1.3}
    generator = LSTMGenerator(VOCABULARY, rng=seeded(2), **sizes).double()  # type: ignore[arg-type]
    prior = EBMPrior(1, hidden_dim=4, init_range=1.0, rng=seeded(5)).double() if tilted else GaussianPrior(1)
    tokens = torch.tensor([[4, 9, 6, 4, 3]])

    def batch(rows: int) -> Batch:
        return Batch(tokens.expand(rows, -1), torch.full((rows,), 5), torch.arange(rows))

    grid = torch.linspace(-7, 7, 2801, dtype=torch.float64)
    with torch.no_grad():
        points = grid.view(-1, 1, 1)
        of_prior = prior.logdensity(points)[:, 0]
        log_density = of_prior + weight * generator.likelihood(batch(1))(points)[:, 0]
    mean, variance, fourth = _moments(log_density, grid)
    curvature = -log_density.diff(n=2) / (grid[1] - grid[0]) ** 2
    typical = log_density[1:-1] > log_density.max() - 7
    bias = float(curvature[typical].max()) * size**2 / 4
    assert bias < 0.15
    tolerance = 4 * math.sqrt(variance / n_chains) + bias * math.sqrt(variance)
    assert abs(mean - _moments(of_prior, grid)[0]) > 2 * tolerance  # a chain that ignores the text would fail

    memory = torch.randn(n_chains, 1, generator=seeded(1), dtype=torch.float64)
    chain = ShortRun(n_steps, size, 1.0, weight, memory)
    z = chain(batch(n_chains), prior, generator, rng=seeded(2)).z[:, 0]
    assert abs(float(z.mean()) - mean) < tolerance
    assert abs(float(z.var()) - variance) < 4 * math.sqrt((fourth - variance**2) / n_chains) + 2 * bias * variance
