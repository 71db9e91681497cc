"""Integrals whose value is known: a linear-Gaussian model in closed form, a text model of two dimensions on a grid."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lebm_text.models.base import Generator, Prior
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, base_log_prob
from lebm_text.text.batching import EncodedCorpus

from ..toy import BOS, VOCABULARY, normal, seeded, toy_corpus

LENGTHS = [5, 2, 6, 1]


class Linear:
    """x = W z + σ ε with z ~ N(0, I), D = 3: p(x) is Gaussian. B observations x."""

    def __init__(self, n: int = 4, sigma: float = 0.6) -> None:
        self.weight, self.x, self.sigma = normal(5, 3, seed=1), 1.5 * normal(n, 5, seed=2), sigma

    def likelihood(self, z: Tensor) -> Tensor:
        """log p(x|z), (C, B, D) → (C, B)."""
        return base_log_prob((self.x - z @ self.weight.T) / self.sigma) - 5 * math.log(self.sigma)

    def log_prob(self) -> Tensor:
        """log p(x), (B,)."""
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(5, dtype=torch.float64)
        return multivariate_log_prob(self.x, torch.linalg.cholesky(covariance))

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean (B, D) and covariance (D, D) of p(z|x)."""
        precision = torch.eye(3, dtype=torch.float64) + self.weight.T @ self.weight / self.sigma**2
        return self.x @ self.weight @ precision.inverse() / self.sigma**2, precision.inverse()


def multivariate_log_prob(centred: Tensor, factor: Tensor) -> Tensor:
    """log N(centred; 0, factor factorᵀ), torch's own: (..., D) → (...)."""
    distribution = torch.distributions.MultivariateNormal(torch.zeros_like(factor[..., 0]), scale_tril=factor)
    value: Tensor = distribution.log_prob(centred)  # type: ignore[no-untyped-call]
    return value


def text_model(*, dtype: torch.dtype = torch.float64) -> tuple[EBMPrior, LSTMGenerator, EncodedCorpus]:
    """D = 2, with an f and a likelihood that both matter."""
    sizes = {"latent_dim": 2, "embedding_dim": 3, "hidden_dim": 4, "bos_id": BOS, "init_range": 1.2}
    generator = LSTMGenerator(VOCABULARY, rng=seeded(2), **sizes).to(dtype)  # type: ignore[arg-type]
    prior = EBMPrior(2, hidden_dim=6, init_range=1.0, rng=seeded(5)).to(dtype)
    return prior.requires_grad_(False), generator.requires_grad_(False), toy_corpus(LENGTHS, seed=3)


@torch.no_grad()
def grid_log_integral(logdensity: Callable[[Tensor], Tensor], n: int = 161, limit: float = 8.0) -> Tensor:
    """log ∫ exp(logdensity) over the plane, (C, B, 2) → (C, B), by the trapezoidal rule."""
    axis = torch.linspace(-limit, limit, n, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    total = torch.cat([logdensity(points[start : start + 2000]) for start in range(0, len(points), 2000)])
    return total.logsumexp(0) + 2 * math.log(2 * limit / (n - 1))


def grid_log_z(prior: Prior) -> Tensor:
    """log Z of a prior of two dimensions, ()."""
    return grid_log_integral(prior.logdensity)


def grid_log_a(prior: Prior, generator: Generator, corpus: EncodedCorpus) -> Tensor:
    """log A(x) of each sentence, in the corpus's order."""
    batch = corpus.batch(np.arange(len(corpus)))
    likelihood = generator.likelihood(batch)

    def joint(points: Tensor) -> Tensor:
        z = points.unsqueeze(1).expand(-1, len(corpus), -1)
        return prior.logdensity(z) + likelihood(z)

    value = torch.empty(len(corpus), dtype=torch.float64)
    value[batch.index] = grid_log_integral(joint)
    return value
