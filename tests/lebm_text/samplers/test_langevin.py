"""Langevin dynamics: the formula exactly, the Gaussian law statistically, and nothing else touched."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lebm_text.models.priors import base_log_prob
from lebm_text.random import KeyedRng
from lebm_text.samplers.langevin import langevin, langevin_step

from ..toy import LATENT, gap, normal, seeded, toy_prior


def _flat(z: Tensor) -> Tensor:
    return z.sum(-1) * 0.0


def _tilted(z: Tensor) -> Tensor:
    """A density with a skew, so that no term of a step vanishes."""
    return base_log_prob(z) + torch.sin(2 * z).sum(-1) + z[..., 0] * z[..., 1]


def test_one_step_is_the_formula() -> None:
    z, grad, noise = (normal(4, LATENT, seed=s) for s in (1, 2, 3))
    found = langevin_step(z, grad, noise, step_size=0.3, noise_scale=0.7)
    assert gap(found, z + 0.5 * 0.09 * grad + 0.3 * 0.7 * noise) < 1e-15


@pytest.mark.parametrize("noise_scale", [1.0, 0.4])
def test_a_chain_of_one_step_is_the_formula(noise_scale: float) -> None:
    z = normal(4, LATENT)
    found = langevin(_tilted, z, step_size=0.5, n_steps=1, noise_scale=noise_scale, rng=seeded(8))
    noise = torch.randn(4, LATENT, generator=seeded(8)).double()
    grad = -z + 2 * torch.cos(2 * z)
    grad[:, 0] += z[:, 1]
    grad[:, 1] += z[:, 0]
    assert gap(found, z + 0.125 * grad + 0.5 * noise_scale * noise) < 1e-12


def test_zero_gradient_and_zero_noise_leave_z_unchanged() -> None:
    z = normal(4, LATENT)
    assert torch.equal(langevin_step(z, 0 * z, normal(4, LATENT), step_size=0.7, noise_scale=0.0), z)
    assert torch.equal(langevin(_flat, z, step_size=0.7, n_steps=5, noise_scale=0.0, rng=seeded()), z)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_no_parameter_gets_a_gradient_and_z_is_detached(requires_grad: bool) -> None:
    prior, z = toy_prior(), normal(4, LATENT).requires_grad_(requires_grad)
    before = z.detach().clone()
    with torch.no_grad():  # also where the caller records nothing
        quiet = langevin(prior.logdensity, z, step_size=0.3, n_steps=3, rng=seeded())
    result = langevin(prior.logdensity, z, step_size=0.3, n_steps=3, rng=seeded())
    assert torch.equal(quiet, result)
    assert not result.requires_grad
    assert z.grad is None
    assert torch.equal(z, before)
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_a_chain_does_not_depend_on_its_neighbours() -> None:
    prior, z = toy_prior(), normal(5, LATENT)
    options = {"step_size": 0.4, "n_steps": 6}
    together = langevin(prior.logdensity, z, rng=KeyedRng(1, (3, 0, 7, 9, 4)), **options)  # type: ignore[arg-type]
    some = langevin(prior.logdensity, z[[4, 2]], rng=KeyedRng(1, (4, 7)), **options)  # type: ignore[arg-type]
    assert gap(some, together[[4, 2]]) < 1e-12


def test_a_batch_of_one() -> None:
    z = normal(1, LATENT)
    result = langevin(toy_prior().logdensity, z, step_size=0.4, n_steps=3, rng=seeded())
    assert result.shape == (1, LATENT)
    assert gap(result, z) > 1e-3


M = 100_000  # chains


def _check_law(z: Tensor, mean: float, variance: float) -> None:
    """Within 4 standard errors of a Gaussian sample: √(v/M) of the mean, v √(2/(M−1)) of the variance."""
    assert abs(float(z.mean()) - mean) < 4 * math.sqrt(variance / len(z))
    assert abs(float(z.var()) - variance) < 4 * variance * math.sqrt(2 / (len(z) - 1))


@pytest.mark.parametrize("noise_scale", [1.0, 0.5, 1.7])
@pytest.mark.parametrize(("n_steps", "step_size"), [(1, 0.9), (7, 0.5), (20, 0.3)])
def test_law_on_the_standard_normal(n_steps: int, step_size: float, noise_scale: float) -> None:
    start = 2.0 + 0.5 * normal(M, 1, seed=4)
    z = langevin(base_log_prob, start, step_size=step_size, n_steps=n_steps, noise_scale=noise_scale, rng=seeded(5))[
        :, 0
    ]
    a = 1 - step_size**2 / 2
    added = noise_scale**2 * step_size**2 * (1 - a ** (2 * n_steps)) / (1 - a**2)
    _check_law(z, a**n_steps * 2.0, a ** (2 * n_steps) * 0.25 + added)


def test_limit_of_the_variance_is_not_one() -> None:
    start = torch.zeros(M, 1, dtype=torch.float64)
    z = langevin(base_log_prob, start, step_size=1.0, n_steps=40, noise_scale=0.8, rng=seeded(2))[:, 0]
    _check_law(z, 0.0, 0.8**2 / (1 - 1 / 4))


def test_law_with_a_size_for_each_step() -> None:
    sizes = (1.2, 0.7, 0.2)
    z = langevin(base_log_prob, normal(M, 1, seed=1) + 3, step_size=sizes, n_steps=3, rng=seeded(3))[:, 0]
    mean, variance = 3.0, 1.0
    for size in sizes:
        a = 1 - size**2 / 2
        mean, variance = a * mean, a**2 * variance + size**2
    _check_law(z, mean, variance)


def test_sizes_are_taken_in_their_order() -> None:
    z, sizes = normal(3, LATENT), [0.9, 0.1, 0.4]
    found = langevin(_tilted, z, step_size=sizes, n_steps=3, rng=seeded(1))
    rng = seeded(1)
    for size in sizes:
        z = langevin(_tilted, z, step_size=size, n_steps=1, rng=rng)
    assert gap(found, z) < 1e-15
    same = langevin(_tilted, normal(3, LATENT), step_size=[0.4] * 3, n_steps=3, rng=seeded(1))
    assert torch.equal(same, langevin(_tilted, normal(3, LATENT), step_size=0.4, n_steps=3, rng=seeded(1)))


def test_callback_sees_every_state() -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []
    z = normal(2, LATENT)

    def callback(step: int, at: Tensor, grad: Tensor) -> None:
        assert not at.requires_grad
        assert not grad.requires_grad
        assert gap(grad, -at) < 1e-12
        seen.append((step, at, grad))

    end = langevin(base_log_prob, z, step_size=0.5, n_steps=4, rng=seeded(), callback=callback)
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    rng = seeded()
    for (_, at, grad), after in zip(seen, [*(at for _, at, _ in seen[1:]), end], strict=True):
        assert torch.equal(at, z)
        z = langevin_step(at, grad, torch.randn(2, LATENT, generator=rng).double(), step_size=0.5)
        assert torch.equal(after, z)


def test_no_steps_change_nothing() -> None:
    z = normal(2, LATENT)
    assert torch.equal(langevin(base_log_prob, z, step_size=0.5, n_steps=0, rng=seeded()), z)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": -0.1}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
        ({"step_size": math.inf}, "step_size"),
        ({"step_size": [0.1, 0.0]}, "step_size"),
        ({"step_size": [0.1]}, "1 step sizes"),
        ({"step_size": [0.1] * 3}, "3 step sizes"),
        ({"n_steps": -1}, "n_steps"),
        ({"noise_scale": -0.1}, "noise_scale"),
        ({"noise_scale": math.nan}, "noise_scale"),
        ({"noise_scale": math.inf}, "noise_scale"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        langevin(base_log_prob, normal(1, 1), **({"step_size": 0.1, "n_steps": 2, "rng": seeded()} | options))  # type: ignore[arg-type]
