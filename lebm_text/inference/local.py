r"""Posterior samples from a normal distribution fitted to each sentence separately: variational, without an encoder.

    λ_0 = (0, 0), which is p0;   λ ← Adam(λ, ∇_λ [log p(x|z) − β KL(q_λ‖p_α)]),   z = μ + σ ε,  ε anew at each step

λ = (μ, log σ²) is fitted anew each time a sentence occurs, by a few steps at a large rate, as in "Latent Thought Models
with Variational Bayes Inference-Time Computation" (Kong et al., ICML 2025), whose z a transformer attends to. The
generator treats z⁺ ~ q_λ as given. q_λ has a density, so it bounds log p(x) as an encoder's q does: the
noise that draws z⁺ is independent of the fit of λ.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from lebm_text.inference.base import Moments
from lebm_text.inference.variational import NONE_FREE, FreeBits, Variational
from lebm_text.models.base import Batch, Generator, Prior
from lebm_text.random import Rng, draw_normal

__all__ = ["Local"]

DECAYS = 0.9, 0.999  # Adam's decay rates for the means of the gradient and of its square
EPSILON = 1e-8


@dataclass(frozen=True)
class Local(Variational):
    """Inference by q_λ fitted to each sentence; see `Variational` for the rest.

    Attributes:
        n_steps: K.
        learning_rate: of Adam.
    """

    n_steps: int
    learning_rate: float
    kl_weight: float = 1.0
    free_bits: FreeBits = field(default=NONE_FREE, init=False)

    @torch.no_grad()
    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Return mean and log variance of q_λ after K steps, detached; each sentence is independent of the others.

        Adam ascends the evidence bound of the batch under `prior` and `generator`; `rng` draws the noise.
        """
        likelihood, shape = generator.likelihood(batch), (len(batch.lengths), prior.latent_dim)
        fitted = next(generator.parameters()).new_zeros(shape[0], 2 * shape[1])
        mean, square = torch.zeros_like(fitted), torch.zeros_like(fitted)
        for step in range(1, self.n_steps + 1):
            noise = draw_normal(rng, shape, fitted.device).to(fitted.dtype)
            gradient = self.slope(fitted, noise, prior, likelihood)
            mean, square = mean.lerp(gradient, 1 - DECAYS[0]), square.lerp(gradient.square(), 1 - DECAYS[1])
            unbiased = mean / (1 - DECAYS[0] ** step), square / (1 - DECAYS[1] ** step)
            fitted = fitted + self.learning_rate * unbiased[0] / (unbiased[1].sqrt() + EPSILON)
        return Moments(*fitted.chunk(2, dim=1))
