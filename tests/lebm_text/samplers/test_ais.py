"""Annealing: exact cases, both bounds on integrals in closed form, and the schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.models.priors import base_log_prob
from lebm_text.samplers.ais import Annealed, Schedule, anneal, lower_bound, sigmoid_betas, tune, upper_bound
from lebm_text.samplers.hmc import Terms, evaluate, hmc

from ..likelihood.oracles import Linear
from ..toy import gap, normal, seeded

CHAINS = 200


def _terms(model: Linear) -> Terms:
    return (base_log_prob, model.likelihood)


@pytest.mark.parametrize("n_leapfrog", [1, 3])
def test_linear_gaussian_model_from_both_sides(n_leapfrog: int) -> None:
    """Within 4 standard errors, and those are at most 0.1 nat."""
    model = Linear()
    n = len(model.x)
    schedule = tune(_terms(model), normal(CHAINS, n, 3), n_steps=120, n_pilot=60, n_leapfrog=n_leapfrog, rng=seeded(1))
    forward = anneal(_terms(model), normal(CHAINS, n, 3, seed=2), schedule, rng=seeded(2))
    mean, covariance = model.posterior()
    exact = mean + normal(CHAINS, n, 3, seed=3) @ torch.linalg.cholesky(covariance).T
    reverse = anneal(_terms(model), exact, schedule, rng=seeded(3), reverse=True)
    for found in (lower_bound(forward), upper_bound(reverse)):
        assert float(found.standard_error.max()) < 0.1
        assert bool(((found.value - model.log_prob()).abs() < 4 * found.standard_error).all())
    assert 0.3 < float(forward.acceptance.min()) < float(forward.acceptance.max()) < 0.95


def test_single_chains_are_too_low_forwards_and_too_high_backwards() -> None:
    """With few steps the mean weight of a chain is clearly on its side of the truth."""
    model = Linear()
    n = len(model.x)
    schedule = tune(_terms(model), normal(CHAINS, n, 3), n_steps=10, n_pilot=10, rng=seeded(1))
    forward = anneal(_terms(model), normal(CHAINS, n, 3, seed=2), schedule, rng=seeded(2)).log_weights
    mean, covariance = model.posterior()
    exact = mean + normal(CHAINS, n, 3, seed=3) @ torch.linalg.cholesky(covariance).T
    reverse = anneal(_terms(model), exact, schedule, rng=seeded(3), reverse=True).log_weights
    for below in (model.log_prob() - forward, reverse - model.log_prob()):
        assert bool((below.mean(0) > 5 * below.std(0) / math.sqrt(CHAINS)).all())


def test_no_tilt_is_exactly_zero() -> None:
    terms = (base_log_prob, lambda z: torch.zeros_like(z[..., 0]))
    schedule = tune(terms, normal(5, 1, 3), n_steps=7, n_pilot=5, rng=seeded())
    for reverse in (False, True):
        found = anneal(terms, normal(5, 1, 3), schedule, rng=seeded(1), reverse=reverse)
        assert float(found.log_weights.abs().max()) == 0
        assert gap(found.state.z, normal(5, 1, 3)) > 0.1


def test_a_constant_tilt_is_that_constant_at_any_number_of_steps() -> None:
    terms = (base_log_prob, lambda z: torch.full_like(z[..., 0], -2.5), lambda z: torch.full_like(z[..., 0], 1.0))
    schedule = tune(terms, normal(5, 2, 3), n_steps=3, n_pilot=3, rng=seeded())
    found = anneal(terms, normal(5, 2, 3), schedule, rng=seeded(1))
    assert gap(found.log_weights, torch.full((5, 2), -1.5)) < 1e-12


def test_weights_of_given_chains_are_the_formula() -> None:
    """With refused proposals z stays, and the sum telescopes to t(z)."""

    def tilt(z: Tensor) -> Tensor:
        return z.sum(-1)

    schedule = tune((base_log_prob, tilt), normal(5, 2, 3), n_steps=9, n_pilot=5, rng=seeded())
    huge = schedule.__class__(schedule.betas, torch.full_like(schedule.step_sizes, 1e6))
    found = anneal((base_log_prob, tilt), normal(5, 2, 3, seed=4), huge, rng=seeded(1))
    assert gap(found.log_weights, tilt(normal(5, 2, 3, seed=4))) < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_annealing_is_kernels_at_the_betas_written_out(reverse: bool) -> None:
    """Forwards t is taken before the kernel at β_k, backwards after it, each time β_k − β_{k−1} times."""

    def tilt(z: Tensor) -> Tensor:
        return 2 * z.sum(-1) - z.square().sum(-1)

    terms: Terms = (base_log_prob, tilt)
    sizes = torch.tensor([[0.9, 0.5], [0.7, 0.4], [0.3, 0.8]], dtype=torch.float64)
    schedule, z, rng = Schedule((0.0, 0.2, 0.5, 1.0), sizes, n_leapfrog=2), normal(4, 2, 3, seed=4), seeded(7)
    found = anneal(terms, z, schedule, rng=seeded(7), reverse=reverse)
    state, weight, acceptance = evaluate(terms, z), torch.zeros(4, 2, dtype=torch.float64), []
    for k in (3, 2, 1) if reverse else (1, 2, 3):
        beta, below = schedule.betas[k], schedule.betas[k - 1]
        before = state.z
        state, accepted = hmc(terms, (1.0, beta), state, step_size=sizes[k - 1], n_steps=1, n_leapfrog=2, rng=rng)
        weight += (beta - below) * tilt(state.z if reverse else before)
        acceptance.append(accepted)
    assert gap(found.log_weights, weight) < 1e-12
    assert gap(found.state.z, state.z) < 1e-12
    assert gap(found.acceptance, torch.stack(acceptance).mean(0)) < 1e-12
    assert gap(state.z, z) > 0.1


def test_bounds_are_means_of_weights() -> None:
    log_weights = normal(6, 2, seed=8)
    found = Annealed(log_weights, evaluate((base_log_prob,), normal(6, 2, 3)), torch.ones(2))
    assert gap(lower_bound(found).value, log_weights.exp().mean(0).log()) < 1e-12
    assert gap(upper_bound(found).value, -(-log_weights).exp().mean(0).log()) < 1e-12


def test_betas_rise_from_0_to_1_and_are_symmetric() -> None:
    betas = torch.tensor(sigmoid_betas(11), dtype=torch.float64)
    assert len(betas) == 12
    assert betas[0] == 0 and betas[-1] == 1
    assert bool((betas.diff() > 0).all())
    assert gap(betas, 1 - betas.flip(0)) < 1e-12
    assert betas[1] < betas[6] - betas[5]


def test_step_sizes_are_tuned_by_target() -> None:
    """A target ten times narrower gets smaller steps, at about the acceptance of the other."""

    def tilt(z: Tensor) -> Tensor:
        return -0.5 * (z.square().sum(-1) * z.new_tensor([0.01, 99.0]))

    terms = (base_log_prob, tilt)
    schedule = tune(terms, normal(50, 2, 3), n_steps=120, n_pilot=120, rng=seeded())
    assert schedule.step_sizes.shape == (120, 2)
    wide, narrow = schedule.step_sizes[-1].tolist()
    assert 5 < wide / narrow < 20
    found = anneal(terms, normal(50, 2, 3, seed=1), schedule, rng=seeded(1))
    assert bool(((found.acceptance - 0.6).abs() < 0.1).all())


@pytest.mark.parametrize(("n_steps", "n_pilot"), [(48, 12), (20, 10)])
def test_a_pilot_run_has_a_quarter_of_the_steps_and_at_least_ten(n_steps: int, n_pilot: int) -> None:
    model = Linear()
    z = normal(5, len(model.x), 3)
    found, same, longer = (
        tune(_terms(model), z, n_steps=n_steps, rng=seeded(1), n_pilot=n) for n in (None, n_pilot, n_pilot + 1)
    )
    assert torch.equal(found.step_sizes, same.step_sizes)
    assert not torch.equal(found.step_sizes, longer.step_sizes)


def test_a_start_without_density_is_an_error() -> None:
    terms = (base_log_prob, lambda z: z.sum(-1) / 0.0)
    schedule = tune((base_log_prob, lambda z: z.sum(-1)), normal(2, 1, 3), n_steps=2, n_pilot=2, rng=seeded())
    with pytest.raises(InputError, match="not finite"):
        anneal(terms, normal(2, 1, 3), schedule, rng=seeded())
