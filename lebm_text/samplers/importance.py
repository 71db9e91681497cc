r"""log ∫ exp(l(z)) dz by importance sampling, with a Gaussian proposal fitted to each target by gradient steps.

    log (1/K) Σ_k exp(w_k)          of unbiased weights: in expectation a lower bound on the log of their mean (Jensen)
    ess = (Σ exp w)² / Σ exp 2w     effective sample size (Kong, 1992)

    q = N(μ, L Lᵀ) = argmax E_q[l(z)] + H(q);   proposal r = (1 − ε) N(μ, ω² L Lᵀ) + ε N(0, I)
    w_k = l(z_k) − log r(z_k),   z_k ~ r

The gradient is that of l − log q only along the path z = μ + L η (Roeder et al., 2017): its noise vanishes as q
approaches the target. A Gaussian that maximises this bound is narrower than its target, so it is widened by ω; the
share ε of N(0, I) keeps the weights bounded (a defensive mixture: Hesterberg, 1995). With l = log p0 + f + log p(x|·)
the integral is A(x).

Shapes: C draws for each of B targets; z is (C, B, D), and densities map it to (C, B).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lebm_text.random import Rng

from .hmc import normal_noise, uniform_noise
from .langevin import gradient

__all__ = ["MIN_ESS", "Gaussian", "LogMean", "fit_proposal", "importance_sample", "log_mean_exp"]

MIN_ESS = 100.0  # a value with a smaller effective sample size should not be reported
BASE_SHARE = 0.05  # ε
WIDENING = 1.1  # ω
START_SCALE = 0.7  # σ of the initial L = σI
ASCENT, FIT_DRAWS, LEARNING_RATE = 20, 8, 0.05  # steps towards a mode; draws per step of the fit; its initial rate


class LogMean(NamedTuple):
    """log of mean weights (B,) in nats, their standard errors by the delta method, and effective sample sizes."""

    value: Tensor
    standard_error: Tensor
    ess: Tensor


def log_mean_exp(log_weights: Tensor) -> LogMean:
    """Reduce the first axis of (C, B), in float64. The standard error of a single weight is nan."""
    log_weights = log_weights.double()
    n = len(log_weights)
    total = log_weights.logsumexp(0)
    ess = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    error = ((n / ess - 1).clamp(min=0) / (n - 1)).sqrt() if n > 1 else torch.full_like(total, math.nan)
    return LogMean(total - math.log(n), error, ess)


@dataclass(frozen=True)
class Gaussian:
    """N(mean, factor factorᵀ) for each of B targets: mean (B, D), factor (B, D, D) lower triangular."""

    mean: Tensor
    factor: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """Transform N(0, 1) noise (C, B, D) into samples."""
        z: Tensor = self.mean + torch.einsum("bij,cbj->cbi", self.factor, noise)
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density in nats, (C, B, D) → (C, B)."""
        centred = (z - self.mean).permute(1, 2, 0)
        noise = torch.linalg.solve_triangular(self.factor, centred, upper=False).permute(2, 0, 1)
        return _normal_log_prob(noise) - self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def fit_proposal(logdensity: Callable[[Tensor], Tensor], start: Tensor, *, n_steps: int = 100, rng: Rng) -> Gaussian:
    """Fit a Gaussian to each target: ascent to a mode, then the evidence lower bound, both by Adam; then widen it.

    Args:
        logdensity: (C, B, D) → (C, B) in nats, not normalised.
        start: (B, D), first mean.
        n_steps: of mean and covariance, after `ASCENT` of the mean alone; in both the rate decays to 0. Half of the
            draws of a step are mirror images of the others.
        rng: draws the noise.
    """
    mean, lower = start.clone(), torch.zeros(*start.shape, start.shape[-1]).to(start)
    log_diagonal = torch.full_like(start, math.log(START_SCALE))
    for step in _falling(torch.optim.Adam([mean], betas=(0.9, 0.99)), ASCENT):
        mean.grad = -gradient(logdensity, mean.unsqueeze(0)).squeeze(0)
        step()
    q = Gaussian(mean, torch.diag_embed(log_diagonal.exp()))
    for step in _falling(torch.optim.Adam([mean, lower, log_diagonal], betas=(0.9, 0.99)), n_steps):
        half = normal_noise(rng, start.expand(FIT_DRAWS // 2, *start.shape))
        noise = torch.cat([half, -half])
        # −∇ log q(z) = L⁻ᵀ η
        score = torch.linalg.solve_triangular(q.factor.mT, noise.permute(1, 2, 0), upper=True).permute(2, 0, 1)
        path = gradient(logdensity, q.at(noise)) + score
        outer = torch.einsum("cbi,cbj->bij", path, noise) / len(noise)
        mean.grad = -path.mean(0)
        lower.grad = -outer.tril(-1)
        log_diagonal.grad = -outer.diagonal(dim1=-2, dim2=-1) * log_diagonal.exp()
        step()
        q = Gaussian(mean, torch.diag_embed(log_diagonal.exp()) + lower)
    return Gaussian(mean.detach(), WIDENING * q.factor.detach())


@torch.no_grad()
def importance_sample(
    logdensity: Callable[[Tensor], Tensor], proposal: Gaussian, *, n_samples: int, at_once: int = 16, rng: Rng
) -> LogMean:
    """Return log ∫ exp(logdensity) of each target and its effective sample size.

    A value with one below `MIN_ESS` should not be reported.

    Args:
        logdensity: (C, B, D) → (C, B) in nats, not normalised.
        proposal: as `fit_proposal` returns it.
        n_samples: K draws.
        at_once: draws evaluated at a time.
        rng: draws them.
    """
    log_weights = []
    for start in range(0, n_samples, at_once):
        like = proposal.mean.expand(min(at_once, n_samples - start), *proposal.mean.shape)
        noise, from_base = normal_noise(rng, like), uniform_noise(rng, like) < BASE_SHARE
        z = torch.where(from_base.unsqueeze(-1), noise, proposal.at(noise))
        mixture = torch.logaddexp(
            proposal.log_prob(z) + math.log1p(-BASE_SHARE), _normal_log_prob(z) + math.log(BASE_SHARE)
        )
        log_weights.append((logdensity(z) - mixture).double())
    return log_mean_exp(torch.cat(log_weights))


def _falling(optimizer: torch.optim.Optimizer, n_steps: int) -> Iterator[Callable[[], object]]:
    """Yield the optimizer's step function `n_steps` times, with a rate that decays to 0."""
    for i in range(n_steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - i / n_steps)
        yield optimizer.step


def _normal_log_prob(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), (..., D) → (...)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
