"""Priors: densities against torch.distributions and the written formula."""

from __future__ import annotations

import pytest
import torch

from lebm_text.models.priors import EBMPrior, GaussianPrior, base_log_prob

from .. import plain
from ..toy import LATENT, gap, normal, seeded, toy_prior


@pytest.mark.parametrize("axes", [(5,), (1,), (2, 4), ()])
def test_base_is_the_standard_normal(axes: tuple[int, ...]) -> None:
    z = normal(*axes, LATENT)
    wanted = plain.base_log_density(z)
    assert gap(base_log_prob(z), wanted) < 1e-12
    assert gap(GaussianPrior(LATENT).logdensity(z), wanted) < 1e-12


def test_gaussian_has_no_tilt() -> None:
    for axes in ((4,), (2, 4)):
        found = GaussianPrior(LATENT).neg_energy(normal(*axes, LATENT))
        assert torch.equal(found, torch.zeros(axes, dtype=torch.float64))
    assert list(GaussianPrior(LATENT).parameters()) == []
    assert GaussianPrior(LATENT).state_dict() == {}  # nothing is added to a file of weights


@pytest.mark.parametrize("axes", [(5,), (1,), (2, 4)])
def test_ebm_is_the_network_on_top_of_the_base(axes: tuple[int, ...]) -> None:
    prior, z = toy_prior(), normal(*axes, LATENT)
    found = prior.neg_energy(z)
    assert found.shape == axes
    assert gap(found, plain.neg_energy(prior, z)) < 1e-12
    assert gap(prior.logdensity(z), found + base_log_prob(z)) < 1e-12


def test_energy_bound_squashes_the_network() -> None:
    prior, z = toy_prior(energy_bound=0.3, init_range=2.0), 3 * normal(200, LATENT)
    inner, found = plain.neg_energy(prior, z), prior.neg_energy(z)
    assert float(inner.detach().abs().max()) > 1
    assert float(found.detach().abs().max()) <= 0.3
    assert gap(found, 0.3 * torch.tanh(inner / 0.3)) < 1e-12


def test_draws_are_the_bases_own_or_begin_there() -> None:
    start = torch.randn(5, LATENT, generator=seeded(3))
    gaussian, prior = GaussianPrior(LATENT), toy_prior(dtype=torch.float32)
    assert torch.equal(gaussian.sample(5, seeded(3)), start)
    assert torch.equal(gaussian.sample_at(5, seeded(3), 0.25), 0.5 * start)
    rng = seeded(3)
    torch.randn(5, LATENT, generator=rng)  # what the chain draws comes after its start
    assert prior.chain is not None
    assert torch.equal(prior.sample(5, seeded(3)), prior.chain.run(prior.logdensity, start, rng=rng))


def test_without_a_chain_there_are_no_draws() -> None:
    with pytest.raises(ValueError, match="without a chain cannot be sampled"):
        toy_prior(chain=None).sample(5, seeded())


def test_rows_are_independent() -> None:
    prior, z = toy_prior(), normal(4, LATENT)
    assert gap(prior.neg_energy(z[2:3]), prior.neg_energy(z)[2:3]) < 1e-12


def test_initial_parameters_come_from_the_stream_within_their_range() -> None:
    one, two, other = (EBMPrior(2, hidden_dim=9, init_range=0.2, rng=seeded(s)) for s in (1, 1, 2))
    for first, second, third in zip(one.parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        assert gap(first, third) > 0
        assert 0 < float(first.detach().abs().max()) <= 0.2
