r"""Posterior samples from an encoder, an LSTM over the sentence, whose answer may be refined sentence by sentence.

    h_t = LSTM(embedding(x_t), h_{t-1}),  h_0 = c_0 = 0;   [μ; log σ²] = W (1/T) Σ_t h_t + b
    z = μ(x) + σ(x) ε,  ε ~ N(0, I),   q(z|x) = N(μ, diag σ²)
    KL(q‖p0) = Σ_d ½ (μ_d² + σ_d² − 1 − log σ_d²)

The mean over positions rather than the last state: each word reaches z, and z's gradient each word, by a path of its
own, and features of different sentences stay apart where the last state lets them run together (Long et al., 2019).
It is trained by the evidence bound log p(x|z) − KL(q‖p_α) (Kingma and Welling, ICLR 2014; for sentences Bowman et al.,
2016). With an energy-based prior KL(q‖p_α) = KL(q‖p0) − E_q f + log Z(α); log Z does not depend on the encoder, and the
prior has a loss of its own.

    refined:  λ_0 = (μ(x), log σ²(x)),   λ ← λ + ½ s² ∇_λ [log p(x|z) − β KL(q_λ‖p_α)],   ε anew at each step

(Kim, Wiseman, Miller, Sontag and Rush, ICML 2018.) They differentiate through the steps, by finite differences of
gradients; here the encoder gets the gradient at λ_K as if it were that at λ_0, which is the first-order part of theirs.
The steps have the length that a Langevin step of size s has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.inference.base import InferenceResult
from lebm_text.models.base import Generator, LogDensity, Prior
from lebm_text.models.lstm import LSTM, Packing
from lebm_text.random import Rng, draw_normal
from lebm_text.text.batching import Batch

__all__ = ["Amortized", "FreeBits", "LSTMEncoder", "Moments", "SemiAmortized", "base_kl", "sample"]


class Moments(NamedTuple):
    """Mean and log variance of a diagonal normal distribution for each sentence, (B, D) each."""

    mean: Tensor
    log_variance: Tensor


class LSTMEncoder(LSTM):
    """q(z|x), with embeddings of its own; it has no dropout.

    Args:
        vocab_size: V, with the special ids.
        latent_dim, embedding_dim, hidden_dim: D, E, H.
        compute_dtype: type of the operands of large matrix products; all else is in the parameters' type.
        init_range: parameters start uniform in ±init_range.
        rng: draws the initial parameters.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        latent_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        compute_dtype: torch.dtype = torch.float32,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__(vocab_size, embedding_dim=embedding_dim, hidden_dim=hidden_dim, compute_dtype=compute_dtype)
        self.moments_weight = nn.Parameter(torch.empty(2 * latent_dim, hidden_dim))
        self.moments_bias = nn.Parameter(torch.empty(2 * latent_dim))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-init_range, init_range, generator=rng)

    def forward(self, batch: Batch) -> Moments:
        """Mean and log variance of z for each sentence, differentiable in the parameters."""
        packing = Packing.of(batch.lengths, batch.tokens.device)
        weights = self.weights()
        inputs = weights.prepare(F.embedding(packing.pack(batch.tokens), self.embedding))
        hidden = weights.scan(inputs, packing)
        mean = packing.sum_by_row(hidden) / batch.lengths.to(hidden).unsqueeze(1)
        return Moments(*F.linear(mean, self.moments_weight, self.moments_bias).chunk(2, dim=1))


def sample(moments: Moments, noise: Tensor) -> Tensor:
    """μ + σ ε, (B, D), differentiable in the moments."""
    return moments.mean + (0.5 * moments.log_variance).exp() * noise


def base_kl(moments: Moments) -> Tensor:
    """KL(q‖p0) of each dimension in nats, (B, D)."""
    return 0.5 * (moments.mean.square() + moments.log_variance.exp() - 1 - moments.log_variance)


@dataclass(frozen=True)
class FreeBits:
    """The part of KL(q‖p0) that costs nothing: what lies below a threshold has no gradient.

    Attributes:
        nats: λ, for a sentence.
        kind: `dimension`: each of the D dimensions has λ/D free, Σ_d max(λ/D, KL_d); `total`: max(λ, Σ_d KL_d).
            Both sentence by sentence, as Li et al. (EMNLP 2019) have it; Kingma et al. (NeurIPS 2016) compare the
            mean of a batch with the threshold.
    """

    nats: float = 0.0
    kind: str = "dimension"

    def __call__(self, base_kl: Tensor) -> Tensor:
        """(B, D) → (B,)"""
        if self.kind == "total":
            return base_kl.sum(-1).clamp_min(self.nats)
        return base_kl.clamp_min(self.nats / base_kl.shape[-1]).sum(-1)


@dataclass(frozen=True)
class Amortized:
    """Inference by an encoder.

    Attributes:
        encoder: q(z|x).
        kl_weight: β of the KL term; 1 is the evidence bound, 0 an autoencoder.
        free_bits: how much of KL(q‖p0) is free.
    """

    encoder: LSTMEncoder
    kl_weight: float = 1.0
    free_bits: FreeBits = FreeBits()
    chain: ClassVar[None] = None

    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Those of q(z|x), differentiable in the encoder."""
        moments: Moments = self.encoder(batch)
        return moments

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence from q(z|x), differentiable in the encoder."""
        moments = self.moments(batch, prior, generator, rng=rng)
        noise = draw_normal(rng, moments.mean.shape, moments.mean.device).to(moments.mean.dtype)
        z = sample(moments, noise)
        return InferenceResult(z, moments.mean, base_kl(moments))

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """log p_α(z) + log p_β(x|z) up to a constant: what q approximates."""
        return lambda z: prior.logdensity(z) + likelihood(z)

    def penalty(self, result: InferenceResult, prior: Prior) -> Tensor:
        """β (KL(q‖p0) − f(z⁺)), the KL flat where it is free, (B,): β KL(q‖p_α) up to log Z, E_q f by one sample."""
        assert result.base_kl is not None
        return self.weighted_kl(result.base_kl, result.z, prior)

    def weighted_kl(self, base_kl: Tensor, z: Tensor, prior: Prior) -> Tensor:
        """β (Σ_d KL_d − f(z)), from (B, D) each: (B,)."""
        return self.kl_weight * (self.free_bits(base_kl) - prior.neg_energy(z))

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """The annealed weight, and KL(q‖p0) a sentence."""
        assert result.base_kl is not None
        return {"kl_weight": self.kl_weight, "kl": result.base_kl.detach().sum(-1).mean()}


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
