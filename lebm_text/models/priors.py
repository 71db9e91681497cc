r"""Priors on the latent vector.

    Gaussian:  p0(z) = N(z; 0, I)
    EBM:       p_α(z) = exp(f_α(z)) p0(z) / Z(α)      (Pang et al., NeurIPS 2020, eq. 2)

f is called `neg_energy`: the sign is in the name.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EBMPrior", "GaussianPrior", "Prior", "base_log_prob"]


def base_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (..., D) → (...)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


class Prior(Protocol):
    """What training, inference and generation need of a prior; both are in nats, (..., D) → (...)."""

    latent_dim: int

    def neg_energy(self, z: Tensor) -> Tensor:
        """f(z), the tilt on the base density."""

    def logdensity(self, z: Tensor) -> Tensor:
        """f(z) + log p0(z): log p(z) up to the constant log Z."""


class GaussianPrior(nn.Module):
    """p0 itself: f = 0 and log Z = 0. With D = 0 there is one z, the empty vector, of probability 1."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def neg_energy(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z)


class EBMPrior(nn.Module):
    """f is an MLP with two hidden GELU layers and one output.

    Args:
        latent_dim: D.
        hidden_dim: width of both hidden layers.
        energy_bound: b > 0 squashes the output to b·tanh(g/b); 0 leaves it unbounded.
        init_range: parameters start uniform in ±init_range.
        rng: draws the initial parameters.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        hidden_dim: int = 200,
        energy_bound: float = 0.0,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.energy_bound = energy_bound
        widths = (latent_dim, hidden_dim, hidden_dim, 1)
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(widths))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-init_range, init_range, generator=rng)

    def neg_energy(self, z: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            z = F.gelu(layer(z))
        value: Tensor = self.layers[-1](z).squeeze(-1)
        if self.energy_bound > 0:
            value = self.energy_bound * torch.tanh(value / self.energy_bound)
        return value

    def logdensity(self, z: Tensor) -> Tensor:
        return self.neg_energy(z) + base_log_prob(z)
