r"""The encoder q(z|x) = N(z; μ(x), diag σ²(x)): an LSTM over the sentence, averaged over its words.

    h_t = LSTM(embedding(x_t), h_{t-1}),  h_0 = c_0 = 0
    [μ; log σ²] = W (1/T) Σ_t h_t + b

(Kingma and Welling, ICLR 2014; for sentences Bowman et al., 2016.) The mean over positions rather than the last state:
each word reaches z, and z's gradient each word, by a path of its own, and features of different sentences stay apart
where the last state lets them run together (Long, Cao and Cheung, 2019).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.lstm import LSTM, Packing
from lebm_text.text.batching import Batch

__all__ = ["LSTMEncoder", "Moments"]


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
