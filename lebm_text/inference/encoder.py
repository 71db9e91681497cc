r"""Posterior samples from an encoder, an LSTM over the sentence, optionally refined sentence by sentence.

    h_t = LSTM(embedding(x_t), h_{t-1}),  h_0 = c_0 = 0;   [μ; log σ²] = W (1/T) Σ_t h_t + b

The mean over positions is used instead of the last state: each word reaches z, and z's gradient each word, by its own
path, and features of different sentences stay distinct where the last state merges them (Long et al., 2019).
It is trained by the evidence bound (`lebm_text.inference.variational`).

    refined:  λ_0 = (μ(x), log σ²(x)),   λ ← λ + ½ s² ∇_λ [log p(x|z) − β KL(q_λ‖p_α)],   ε anew at each step

(Kim, Wiseman, Miller, Sontag and Rush, ICML 2018.) They differentiate through the steps, by finite differences of
gradients; here the encoder gets the gradient at λ_K as if it were that at λ_0, the first-order part of theirs.
A step has the length of a Langevin step of size s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from lebm_text.inference.base import Moments
from lebm_text.inference.variational import NONE_FREE, FreeBits, Variational
from lebm_text.models.base import Batch, Generator, Prior
from lebm_text.models.lstm import LSTM
from lebm_text.models.packing import Packing
from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.langevin import step_sizes
from lebm_text.text.batching import Batch as Sentences
from lebm_text.transfer import send

__all__ = ["Amortized", "LSTMEncoder", "SemiAmortized"]


class LSTMEncoder(LSTM):
    """q(z|x), with its own embeddings and without dropout.

    Args:
        vocab_size: V, with the special ids.
        latent_dim, embedding_dim, hidden_dim: D, E, H.
        compute_dtype: type of the operands of large matrix products; everything else has the parameters' type.
        init_range: parameters are initialised uniformly in ±init_range.
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

    def forward(self, batch: Sentences) -> Moments:
        """Return mean and log variance of z for each sentence, differentiable in the parameters."""
        packing = Packing.of(batch.lengths, batch.tokens.device)
        weights = self.weights()
        inputs = weights.prepare(F.embedding(packing.pack(batch.tokens), self.embedding))
        hidden = weights.scan(inputs, packing)
        mean = packing.sum_by_row(hidden) / send(batch.lengths, hidden.device).to(hidden.dtype).unsqueeze(1)
        return Moments(*F.linear(mean, self.moments_weight, self.moments_bias).chunk(2, dim=1))


@dataclass(frozen=True)
class Amortized(Variational):
    """Inference by an encoder; see `Variational` for the rest."""

    encoder: nn.Module
    kl_weight: float = 1.0
    free_bits: FreeBits = NONE_FREE

    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Return mean and log variance of q(z|x), (B, D), differentiable in the encoder; only `batch` is used."""
        moments: Moments = self.encoder(batch)
        return moments


@dataclass(frozen=True, kw_only=True)
class SemiAmortized(Amortized):
    """Inference by an encoder followed by gradient steps.

    Attributes:
        n_steps: K.
        step_size: s, or one per step.
    """

    n_steps: int
    step_size: float | Sequence[float]

    def moments(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> Moments:
        """Return mean and log variance of q_λ after K steps; a gradient in them passes to the encoder unchanged.

        The steps ascend the evidence bound of the batch under `prior` and `generator`; `rng` draws their noise.
        """
        first: Moments = self.encoder(batch)
        likelihood = generator.likelihood(batch)
        refined = torch.cat(first, dim=1).detach()
        for size in step_sizes(self.step_size, self.n_steps):
            noise = draw_normal(rng, first.mean.shape, refined.device).to(refined.dtype)
            refined = refined + (0.5 * size**2) * self.slope(refined, noise, prior, likelihood)
        return Moments(*(own + (end - own).detach() for own, end in zip(first, refined.chunk(2, dim=1), strict=True)))
