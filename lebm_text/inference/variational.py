r"""The common part of inference methods that draw z from a normal distribution q(z|x), whose density is known.

    q(z|x) = N(μ, diag σ²),   z = μ + σ ε,  ε ~ N(0, I),   KL(q‖p0) = Σ_d ½ (μ_d² + σ_d² − 1 − log σ_d²)

They maximise the evidence bound log p(x|z) − β KL(q‖p_α), which at β = 1 is below log p(x) (Kingma and Welling, ICLR
2014; for sentences Bowman et al., 2016). With an energy-based prior KL(q‖p_α) = KL(q‖p0) − E_q f + log Z(α); log Z does
not depend on q, and the prior has its own loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lebm_text.inference.base import InferenceResult, Moments
from lebm_text.models.base import Batch, Generator, LogDensity, Prior
from lebm_text.random import Rng, draw_normal

__all__ = ["NONE_FREE", "FreeBits", "Variational", "base_kl", "sample"]


def sample(moments: Moments, noise: Tensor) -> Tensor:
    """Return μ + σ ε, (B, D), differentiable in the moments, for `noise` ε."""
    return moments.mean + (0.5 * moments.log_variance).exp() * noise


def base_kl(moments: Moments) -> Tensor:
    """Return KL(q‖p0) of each dimension in nats, (B, D)."""
    return 0.5 * (moments.mean.square() + moments.log_variance.exp() - 1 - moments.log_variance)


@dataclass(frozen=True)
class FreeBits:
    """Exempts a part of KL(q‖p0) from the loss: below a threshold it has no gradient.

    Attributes:
        nats: λ, per sentence.
        kind: `dimension`: each of the D dimensions has λ/D free, Σ_d max(λ/D, KL_d); `total`: max(λ, Σ_d KL_d).
            Both sentence by sentence, as Li et al. (EMNLP 2019) have it; Kingma et al. (NeurIPS 2016) compare the
            mean of a batch with the threshold.
    """

    nats: float = 0.0
    kind: str = "dimension"

    def __call__(self, base_kl: Tensor) -> Tensor:
        """Return the KL with free bits, (B, D) → (B,)."""
        if self.kind == "total":
            return base_kl.sum(-1).clamp_min(self.nats)
        return base_kl.clamp_min(self.nats / base_kl.shape[-1]).sum(-1)


NONE_FREE = FreeBits()


class Variational(ABC):
    """Inference by q(z|x) = N(μ, diag σ²); subclasses compute its moments.

    Attributes:
        kl_weight: β of the KL term; 1 is the evidence bound, 0 an autoencoder.
        free_bits: the part of KL(q‖p0) without cost.
    """

    kl_weight: float
    free_bits: FreeBits
    chain: ClassVar[None] = None

    @abstractmethod
    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Return mean and log variance of q(z|x), (B, D), differentiable in the encoder if there is one.

        Args:
            batch: B sentences x.
            prior, generator: p_α(z) and p_β(x|z), for methods that fit q to them by gradient steps.
            rng: draws the noise of such steps.
        """

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence from q(z|x), differentiable in its moments."""
        moments = self.moments(batch, prior, generator, rng=rng)
        noise = draw_normal(rng, moments.mean.shape, moments.mean.device).to(moments.mean.dtype)
        z = sample(moments, noise)
        return InferenceResult(z, moments.mean, base_kl(moments))

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """Return log p_α(z) + log p_β(x|z) up to a constant, the function of z that q approximates."""
        return lambda z: prior.logdensity(z) + likelihood(z)

    def penalty(self, result: InferenceResult, prior: Prior) -> Tensor:
        """Return β (KL(q‖p0) − f(z⁺)) with free bits, (B,): β KL(q‖p_α) up to log Z, with E_q f from one sample."""
        assert result.base_kl is not None
        return self.weighted_kl(result.base_kl, result.z, prior)

    def weighted_kl(self, base_kl: Tensor, z: Tensor, prior: Prior) -> Tensor:
        """Return β (Σ_d KL_d − f(z)) with free bits, (B,), for `base_kl` and `z`, (B, D) each."""
        return self.kl_weight * (self.free_bits(base_kl) - prior.neg_energy(z))

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """Return the annealed weight, and KL(q‖p0) per sentence."""
        assert result.base_kl is not None
        return {"kl_weight": self.kl_weight, "kl": result.base_kl.detach().sum(-1).mean()}

    def slope(self, at: Tensor, noise: Tensor, prior: Prior, likelihood: LogDensity) -> Tensor:
        """Return ∇ of log p(x|z) − β KL(q‖p_α) in [μ; log σ²] (B, 2D), with one z = μ + σ noise per sentence.

        Args:
            at: (B, 2D) the moments.
            noise: (B, D) from N(0, 1).
            prior: p_α(z).
            likelihood: log p(x|·) of the batch.
        """
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            moments = Moments(*at.chunk(2, dim=1))
            z = sample(moments, noise)
            bound = likelihood(z) - self.weighted_kl(base_kl(moments), z, prior)
            (gradient,) = torch.autograd.grad(bound.sum(), at)
        return gradient
