r"""What the latent vector carries, and how far the chain that generates is from the density that is judged.

    chain gap     E_chain[f] − E_{p_α}[f]                 K0 steps from p0, as generation does, against samples of p_α
    information   E_{p(z|x)}[log p(x|z)] − log p(x)       KL(p(z|x) ‖ p_α(z)) of a sentence, in nats
    active units  Var_x(mean of z_d over M chains) − mean within-variance / M  > 0.01

(Burda et al., 2016, for active units, here without an encoder: a mean of M chains still has the noise of M chains,
which is taken off.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lebm_text.random import Rng
from lebm_text.samplers.hmc import Place, hmc

from .ais import Path
from .estimates import Estimate, mean_of

__all__ = ["MIN_CHAINS", "ActiveUnits", "PosteriorChains", "active_units", "chain_gap", "posterior_chains"]

MIN_CHAINS = 8  # M, below which the within-variance is too uncertain
THRESHOLD = 0.01


class PosteriorChains(NamedTuple):
    """Averages along each of M chains of B posteriors.

    z (M, B, D); log p(x|z) (M, B) in nats; mean acceptance probability (B,).
    """

    z: Tensor
    log_likelihood: Tensor
    acceptance: Tensor


class ActiveUnits(NamedTuple):
    """Units above the threshold, and the variance of each unit's posterior mean over sentences (D,)."""

    n_active: int
    variance: Tensor


def chain_gap(f_chain: Tensor, f_long: Tensor) -> Estimate:
    """E_chain[f] − E_{p_α}[f] from independent draws of each, (N,) and (M,)."""
    chain, long = mean_of(f_chain), mean_of(f_long)
    error = (chain.standard_error**2 + long.standard_error**2) ** 0.5
    return Estimate(chain.value - long.value, error)


def posterior_chains(
    path: Path, place: Place, *, step_size: Tensor, n_steps: int, n_leapfrog: int = 1, rng: Rng
) -> PosteriorChains:
    """Continue chains at β = 1 and average over the second half of their steps.

    Args:
        path: whose last tilt is log p(x|·).
        place: M chains of B targets, as annealing left them.
        step_size: (B,).
    """
    kept = max(n_steps // 2, 1)
    z, values, seen = torch.zeros_like(place.z), torch.zeros_like(place.values[-1]), 0

    def collect(now: Place) -> None:
        nonlocal seen
        seen += 1
        if seen > n_steps - kept:
            z.add_(now.z / kept)
            values.add_(now.values[-1] / kept)

    result = hmc(
        path.terms,
        path.weights(1.0),
        place,
        step_size=step_size,
        n_steps=n_steps,
        n_leapfrog=n_leapfrog,
        rng=rng,
        callback=collect,
    )
    return PosteriorChains(z, values, result.acceptance)


def active_units(z: Tensor, *, threshold: float = THRESHOLD) -> ActiveUnits:
    """Units whose posterior mean varies over sentences.

    Args:
        z: (M, N, D), draws or averages of M independent chains of N sentences.

    Raises:
        ValueError: fewer than 8 chains, or fewer than 2 sentences.
    """
    n_chains, n_sentences, _ = z.shape
    if n_chains < MIN_CHAINS or n_sentences < 2:
        raise ValueError(f"active units need at least {MIN_CHAINS} chains of 2 sentences, got {tuple(z.shape[:2])}")
    z = z.double()
    variance = z.mean(0).var(0) - z.var(0).mean(0) / n_chains
    return ActiveUnits(int((variance > threshold).sum()), variance)
