"""Posterior chains, active units and the chain's gap, where their values are known."""

from __future__ import annotations

import math

import pytest
import torch

from lebm_text.likelihood.ais import Path
from lebm_text.likelihood.diagnostics import active_units, chain_gap, posterior_chains
from lebm_text.models.priors import base_log_prob
from lebm_text.samplers.hmc import evaluate

from ..toy import normal, seeded
from .oracles import Linear


def test_posterior_chains_have_the_means_of_the_posterior() -> None:
    """Chains that start at exact samples stay there; 400 of them, averaged over 30 of 60 steps."""
    model, n_chains = Linear(), 400
    mean, covariance = model.posterior()
    factor = torch.linalg.cholesky(covariance)
    exact = mean + normal(n_chains, len(model.x), 3, seed=3) @ factor.T
    path = Path(base_log_prob, (lambda z: 0 * z.sum(-1), model.likelihood))
    found = posterior_chains(
        path,
        evaluate(path.terms, exact),
        step_size=torch.full((len(model.x),), 0.3, dtype=torch.float64),
        n_steps=60,
        rng=seeded(1),
    )
    error = found.z.std(0) / math.sqrt(n_chains)
    assert bool(((found.z.mean(0) - mean).abs() < 4.5 * error).all())
    # E log p(x|z) = log N(x; W m, σ²) − tr(W S Wᵀ) / 2σ²
    wanted = model.likelihood(mean) - 0.5 * torch.trace(model.weight @ covariance @ model.weight.T) / model.sigma**2
    error = found.log_likelihood.std(0) / math.sqrt(n_chains)
    assert bool(((found.log_likelihood.mean(0) - wanted).abs() < 4 * error).all())
    assert bool((found.z.var(0) < 0.6 * covariance.diagonal()).all())  # averages, not last states
    assert 0.3 < float(found.acceptance.min()) < 1


def test_active_units_see_through_the_noise_of_few_chains() -> None:
    """Unit 0 ignores x: its means over 8 chains still vary by 1/8. Unit 1 varies with x by 0.25, unit 2 by 0.04."""
    n_chains, n = 8, 4000
    spread = torch.tensor([0.0, 0.5, 0.2], dtype=torch.float64)
    z = normal(n_chains, n, 3) + spread * normal(n, 3, seed=1)
    found = active_units(z)
    error = math.sqrt(2 / n) * (spread.square() + 1 / n_chains) * 1.2
    assert bool(((found.variance - spread.square()).abs() < 4 * error).all())
    assert found.n_active == 2
    assert active_units(z, threshold=0.1).n_active == 1


def test_a_generator_that_ignores_z_has_no_active_unit() -> None:
    """Averages along chains are sharp enough for 200 sentences: the posterior is the prior, for every sentence."""
    path = Path(base_log_prob, (lambda z: 0 * z.sum(-1),))
    place = evaluate(path.terms, normal(8, 200, 3))
    chains = posterior_chains(path, place, step_size=torch.full((200,), 1.2).double(), n_steps=100, rng=seeded(1))
    assert active_units(chains.z).n_active == 0


@pytest.mark.parametrize("shape", [(7, 10, 2), (8, 1, 2)])
def test_too_few_chains_or_sentences_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 8 chains"):
        active_units(torch.zeros(shape))


def test_chain_gap() -> None:
    chain, long = normal(300) + 2, normal(500, seed=1)
    found = chain_gap(chain, long)
    assert abs(found.value - float(chain.mean() - long.mean())) < 1e-12
    assert abs(found.standard_error - math.sqrt(float(chain.var()) / 300 + float(long.var()) / 500)) < 1e-12
