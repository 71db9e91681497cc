r"""Priors on the latent vector.

    Gaussian:  p0(z) = N(z; 0, I)
    EBM:       p_α(z) = exp(f_α(z)) p0(z) / Z(α)      (Pang et al., NeurIPS 2020, eq. 2)

f is called `neg_energy`, so that the name states the sign.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.base import Chain
from lebm_text.random import Rng, draw_normal

__all__ = ["EBMPrior", "GaussianPrior", "base_log_prob"]


def base_log_prob(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) in nats, (..., D) → (...)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


class GaussianPrior(nn.Module):
    """p0 itself: f = 0 and log Z = 0. With D = 0 there is one z, the empty vector, of probability 1."""

    chain = None
    _place: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("_place", torch.empty(0), persistent=False)  # records the device: there are no parameters

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z) = 0, (..., D) → (...)."""
        return z.new_zeros(z.shape[:-1])

    def logdensity(self, z: Tensor) -> Tensor:
        """Return log p0(z) in nats, (..., D) → (...)."""
        return base_log_prob(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Return n exact draws (n, D) from p0, using `rng`."""
        return draw_normal(rng, (n, self.latent_dim), self._place.device)

    def sample_at(self, n: int, rng: Rng, temperature: float) -> Tensor:
        """Return n draws (n, D) from p0^(1/τ) = N(0, τ I), τ being `temperature`, using `rng`."""
        return math.sqrt(temperature) * self.sample(n, rng)

    def log_z(self) -> float:
        """Return 0: p0 is normalised."""
        return 0.0


class EBMPrior(nn.Module):
    """f is an MLP with two hidden GELU layers and one output.

    Args:
        latent_dim: D.
        hidden_dim: width of both hidden layers.
        energy_bound: b > 0 squashes the output to b·tanh(g/b); 0 leaves it unbounded.
        init_range: parameters are initialised uniformly in ±init_range.
        chain: samples the prior; without one it cannot be sampled.
        n_outputs: outputs of the network; f is the only one, or subclasses compute it from all.
        rng: draws the initial parameters.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        hidden_dim: int = 200,
        energy_bound: float = 0.0,
        init_range: float = 0.1,
        chain: Chain | None = None,
        n_outputs: int = 1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.energy_bound = energy_bound
        self.chain = chain
        widths = (latent_dim, hidden_dim, hidden_dim, n_outputs)
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(widths))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-init_range, init_range, generator=rng)

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z) in nats, (..., D) → (...)."""
        return self.outputs(z).squeeze(-1)

    def outputs(self, z: Tensor) -> Tensor:
        """Return the outputs of the network, bounded if f is: (..., D) → (..., n_outputs)."""
        for layer in self.layers[:-1]:
            z = F.gelu(layer(z))
        value: Tensor = self.layers[-1](z)
        if self.energy_bound > 0:
            value = self.energy_bound * torch.tanh(value / self.energy_bound)
        return value

    def logdensity(self, z: Tensor) -> Tensor:
        """Return f(z) + log p0(z) in nats, (..., D) → (...): log p(z) up to the constant log Z."""
        return self.neg_energy(z) + base_log_prob(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Return n draws (n, D) by the chain, started from p0, using `rng`. Raises ValueError without a chain."""
        if self.chain is None:
            raise ValueError("an energy-based prior without a chain cannot be sampled")
        start = draw_normal(rng, (n, self.latent_dim), next(self.parameters()).device)
        return self.chain.run(self.logdensity, start, rng=rng)

    def log_z(self) -> None:
        """Return None: log Z(α) is not known in closed form."""
