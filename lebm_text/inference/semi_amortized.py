r"""Posterior samples from an encoder whose answer is refined sentence by sentence.

    λ_0 = (μ(x), log σ²(x)),   λ ← λ + ½ s² ∇_λ [log p(x|z) − β KL(q_λ‖p_α)],   z = μ + σ ε,  ε anew at each step

(Kim, Wiseman, Miller, Sontag and Rush, ICML 2018.) They differentiate through the steps, by finite differences of
gradients; here the encoder gets the gradient at λ_K as if it were that at λ_0, which is the first-order part of theirs.
The steps have the length that a Langevin step of size s has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lebm_text.inference.amortized import Amortized, base_kl, sample
from lebm_text.models.base import Generator, Prior
from lebm_text.models.encoder import Moments
from lebm_text.random import Rng, draw_normal
from lebm_text.text.batching import Batch

__all__ = ["SemiAmortized"]


@dataclass(frozen=True, kw_only=True)
class SemiAmortized(Amortized):
    """Inference by an encoder and gradient steps from what it says.

    Attributes:
        n_steps: K.
        step_size: s, or one a step.
    """

    n_steps: int
    step_size: float | Sequence[float]

    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Those of q_λ after K steps; a gradient in them passes to the encoder unchanged."""
        first: Moments = self.encoder(batch)
        likelihood = generator.likelihood(batch)
        sizes = self.step_size if isinstance(self.step_size, Sequence) else [self.step_size] * self.n_steps
        refined = torch.cat(first, dim=1).detach()
        for size in sizes:
            noise = draw_normal(rng, first.mean.shape, refined.device).to(refined.dtype)
            with torch.enable_grad():
                refined.requires_grad_()
                moments = Moments(*refined.chunk(2, dim=1))
                z = sample(moments, noise)
                bound = likelihood(z) - self.weighted_kl(base_kl(moments), z, prior)
                (gradient,) = torch.autograd.grad(bound.sum(), refined)
            refined = refined.detach() + (0.5 * size**2) * gradient
        return Moments(*(own + (end - own).detach() for own, end in zip(first, refined.chunk(2, dim=1), strict=True)))
