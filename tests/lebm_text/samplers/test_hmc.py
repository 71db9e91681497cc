"""HMC and MALA: the step is the formula, the target's law is kept at any step size, nothing leaks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lebm_text.random import KeyedRng
from lebm_text.samplers.hmc import TARGET, adapted, evaluate, hmc, hmc_step

from ..toy import LATENT, gap, normal, seeded, toy_prior

CHAINS, TARGETS = 3, 2


def _quartic(z: Tensor) -> Tensor:
    """Not symmetric, not Gaussian."""
    return (0.7 * z - 0.5 * z.square() - 0.1 * z.pow(4)).sum(-1)


def _proposal_density(new: Tensor, old: Tensor, size: float) -> Tensor:
    """log of the Langevin proposal old → new, up to its constant."""
    (grad,) = torch.autograd.grad(_quartic(old := old.clone().requires_grad_()).sum(), old)
    return -(new - old.detach() - 0.5 * size**2 * grad).square().sum(-1) / (2 * size**2)


def test_one_leapfrog_step_is_mala() -> None:
    z, noise, size = normal(CHAINS, TARGETS, LATENT), normal(CHAINS, TARGETS, LATENT, seed=1), 0.6
    state = evaluate([_quartic], z)
    moved, probability = hmc_step([_quartic], [1.0], state, noise, torch.zeros(CHAINS, TARGETS), step_size=size)
    new = z + 0.5 * size**2 * state.grads[0] + size * noise
    assert gap(moved.z, new) < 1e-12
    ratio = _quartic(new) - _quartic(z) + _proposal_density(z, new, size) - _proposal_density(new, z, size)
    assert gap(probability, ratio.exp().clamp(max=1.0)) < 1e-12
    assert 0.01 < float(probability.min()) < 0.99


@pytest.mark.parametrize("n_leapfrog", [1, 4])
def test_refused_proposals_leave_the_state_and_all_that_is_known_of_it(n_leapfrog: int) -> None:
    state = evaluate([_quartic], normal(CHAINS, TARGETS, LATENT))
    noise, uniform = normal(CHAINS, TARGETS, LATENT, seed=1), torch.ones(CHAINS, TARGETS)
    uniform[0, 1] = 0.0
    moved, _ = hmc_step([_quartic], [1.0], state, noise, uniform, step_size=0.3, n_leapfrog=n_leapfrog)
    changed = (moved.z != state.z).any(-1)
    assert changed.nonzero().tolist() == [[0, 1]]
    again = evaluate([_quartic], moved.z)
    for found, wanted in zip(moved, again, strict=True):
        assert gap(found, wanted) < 1e-12


@pytest.mark.parametrize("n_leapfrog", [1, 3])
def test_the_law_is_that_of_the_target_at_a_step_where_plain_langevin_is_off(n_leapfrog: int) -> None:
    """N(1, 0.5²) at s = 0.7: unadjusted, the variance would be 1 / (1 − s²/(4·0.25)) ≈ 1.96 times as large."""
    n, scale = 20_000, 0.5

    def logdensity(z: Tensor) -> Tensor:
        return -0.5 * ((z - 1) / scale).square().sum(-1)

    state = evaluate([logdensity], normal(n, 1, 1))
    moved, acceptance = hmc([logdensity], [1.0], state, step_size=0.7, n_steps=40, n_leapfrog=n_leapfrog, rng=seeded(3))
    z = moved.z.flatten()
    assert abs(float(z.mean()) - 1) < 4 * scale / math.sqrt(n)
    assert abs(float(z.var()) - scale**2) < 4 * scale**2 * math.sqrt(2 / n)
    assert 0.3 < float(acceptance) < 0.98


def test_weights_multiply_terms() -> None:
    terms = [_quartic, lambda z: z.sum(-1)]
    z = normal(CHAINS, TARGETS, LATENT)
    found = hmc(terms, [0.3, 2.0], evaluate(terms, z), step_size=0.5, n_steps=5, rng=seeded(1))[0].z
    whole = [lambda z: 0.3 * _quartic(z) + 2.0 * z.sum(-1)]
    wanted = hmc(whole, [1.0], evaluate(whole, z), step_size=0.5, n_steps=5, rng=seeded(1))[0].z
    assert gap(found, wanted) < 1e-12
    assert gap(found, z) > 0.1


def test_each_target_has_its_step_size_and_its_noise() -> None:
    def run(z: Tensor, sizes: Tensor, keys: list[int]) -> Tensor:
        state = evaluate([_quartic], z)
        return hmc([_quartic], [1.0], state, step_size=sizes, n_steps=4, rng=KeyedRng(1, keys))[0].z

    z, sizes = normal(CHAINS, TARGETS, LATENT), torch.tensor([0.2, 0.9], dtype=torch.float64)
    together = run(z, sizes, [5, 8])
    for row, key in enumerate([5, 8]):
        alone = run(z[:, row : row + 1], sizes[row : row + 1], [key])
        assert gap(alone, together[:, row : row + 1]) < 1e-12


def test_a_proposal_outside_the_support_is_refused() -> None:
    def logdensity(z: Tensor) -> Tensor:
        return z.sum(-1).log()  # nan below 0

    state = evaluate([logdensity], torch.full((1, 1, 1), 0.1))
    moved, probability = hmc_step(
        [logdensity], [1.0], state, torch.full((1, 1, 1), -9.0), torch.zeros(1, 1), step_size=1.0
    )
    assert float(probability) == 0
    assert torch.equal(moved.z, state.z)


def test_a_constant_term_has_gradient_zero_and_parameters_get_none() -> None:
    prior = toy_prior()
    state = evaluate([lambda z: torch.zeros_like(z[..., 0]), prior.logdensity], normal(CHAINS, TARGETS, LATENT))
    assert float(state.grads[0].abs().max()) == 0
    assert float(state.grads[1].abs().max()) > 0.1
    assert not state.values.requires_grad
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_step_sizes_move_towards_the_wanted_acceptance() -> None:
    size = torch.ones(3)
    acceptance = torch.tensor([0.0, TARGET, 1.0])
    low, same, high = adapted(size, acceptance).tolist()
    assert low < same == 1 < high


@pytest.mark.parametrize("wrong", [{"step_size": 0.0}, {"n_leapfrog": 0}, {"n_steps": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    settings: dict[str, object] = {"step_size": 0.1, "n_steps": 1, "n_leapfrog": 1, **wrong}
    with pytest.raises(ValueError, match="must be"):
        hmc([_quartic], [1.0], evaluate([_quartic], normal(1, 1, 1)), rng=seeded(), **settings)  # type: ignore[arg-type]
