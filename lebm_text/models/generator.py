r"""The generator p(x|z): an LSTM with z in its initial state and at every input.

    h_0 = W_h z + b_h,  c_0 = W_c z + b_c,  input_t = [embedding(x_{t-1}); z],  x_0 = <s>
    log p(x|z) = Σ_t log softmax(W_o h_t + b_o)[x_t],  x_T = </s>

(Pang et al., NeurIPS 2020, text experiments; Bowman et al., 2016, for z as the decoder's state.) With D = 0, z is the
empty vector and this is an LSTM language model with a learned initial state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.likelihood import BatchLikelihood, OfTokens
from lebm_text.models.lstm import LSTM, LSTMWeights
from lebm_text.models.modules import Affine, constant, drop_words, dropout
from lebm_text.models.packing import Packing
from lebm_text.models.softmax import OutputLayer
from lebm_text.text.batching import Batch, PaddedBatch

__all__ = ["LSTMGenerator"]


@dataclass(frozen=True)
class DecoderState:
    """B partial sentences: h, c (B, H), z's part of the gates (B, 4H), and the weights in use."""

    h: Tensor
    c: Tensor
    offset: Tensor
    lstm: LSTMWeights
    output: OutputLayer

    def select(self, rows: Tensor) -> DecoderState:
        """Return the state of the rows with these indices, in that order; repeats are allowed."""
        return replace(self, h=self.h[rows], c=self.c[rows], offset=self.offset[rows])

    def join(self, other: DecoderState) -> DecoderState:
        """Return the rows of this state followed by those of `other`, under the same weights."""
        h, c, offset = (torch.cat([getattr(self, x), getattr(other, x)]) for x in ("h", "c", "offset"))
        return replace(self, h=h, c=c, offset=offset)


class LSTMGenerator(LSTM):
    """p(x|z) over a closed vocabulary.

    Args:
        vocab_size: V, with the special ids.
        latent_dim, embedding_dim, hidden_dim: D (0: a language model), E, H.
        bos_id: first input of every sentence.
        dropout: rate on embeddings and LSTM outputs, only in `log_likelihood`.
        word_dropout: rate at which input words are replaced by `unk_id`, only there.
        unk_id: id of `<unk>`.
        tied: the output weights are the embeddings (E = H).
        compute_dtype: type of the operands of large matrix products; everything else has the parameters' type.
        init_range: parameters are initialised uniformly in ±init_range.
        rng: draws the initial parameters.
    """

    latent_weight: nn.Parameter

    def __init__(
        self,
        vocab_size: int,
        *,
        latent_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        bos_id: int,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        unk_id: int = 1,
        tied: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__(
            vocab_size,
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            latent_dim=latent_dim,
            compute_dtype=compute_dtype,
        )
        self.latent_dim, self.bos_id, self.unk_id, self.init_range = latent_dim, bos_id, unk_id, init_range
        self.dropout, self.word_dropout = dropout, word_dropout
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocab_size, hidden_dim))
        self.output_bias = nn.Parameter(torch.empty(vocab_size))
        self.initial_h = Affine(latent_dim, hidden_dim)
        self.initial_c = Affine(latent_dim, hidden_dim)
        self.initialise(rng)

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew."""
        for parameter in self.parameters():
            parameter.uniform_(-self.init_range, self.init_range, generator=rng)

    def likelihood(self, batch: Batch) -> Likelihood:
        """Return log p(x|z) of one batch as a function of z; what does not depend on z is computed once."""
        return Likelihood(self, batch)

    def padded_likelihood(self, batch: PaddedBatch) -> Likelihood:
        """Return `likelihood` of a padded batch, (R,), 0 for rows without a sentence; the host reads no tensor."""
        return Likelihood(self, batch)

    def log_likelihood(self, batch: Batch | PaddedBatch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p(x|z) in nats, differentiable in z and the parameters.

        Args:
            batch: B sentences, or a padded batch of B rows.
            z: (B, D).
            rng: draws the dropout masks; without it there is no dropout.

        Returns:
            (B,)
        """
        packing = Packing.of_batch(batch)
        inputs, targets = self._inputs_and_targets(batch, packing)
        inputs = drop_words(inputs, self.word_dropout, self.unk_id, self.bos_id, rng)
        weights = self.weights()
        inputs = weights.prepare(dropout(F.embedding(inputs, self.embedding), self.dropout, rng))
        hidden = weights.scan(inputs, packing, z, self.initial_h(z), self.initial_c(z))
        return packing.sum_by_row(self.output_layer().log_probs(dropout(hidden, self.dropout, rng), targets))

    def output_layer(self) -> OutputLayer:
        """Return the softmax weights in their computation type."""
        weight = self.embedding if self.output_weight is None else self.output_weight
        return OutputLayer(weight.to(self.operand_dtype), self.output_bias)

    def start(self, z: Tensor) -> DecoderState:
        """Return the state before the first token, z (B, D). It refers to the current weights."""
        fixed = constant(self)
        weights = fixed.weights()
        return DecoderState(fixed.initial_h(z), fixed.initial_c(z), weights.offset(z), weights, fixed.output_layer())

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Return the logits of the token after `tokens`, without gradients.

        Args:
            tokens: (B,) ids just read; `bos_id` first.
            state: of the same B rows.

        Returns:
            (B, V) logits in the parameters' type, and the state after reading `tokens`.
        """
        embedded = F.embedding(tokens, self.embedding.detach())
        h, c = state.lstm.step(embedded, state.offset, state.h, state.c)
        return state.output.logits(h), replace(state, h=h, c=c)

    def _inputs_and_targets(self, batch: Batch | PaddedBatch, packing: Packing) -> tuple[Tensor, Tensor]:
        inputs = F.pad(batch.tokens[:, :-1], (1, 0), value=self.bos_id)
        return packing.pack(inputs), packing.pack(batch.tokens)


class Likelihood(BatchLikelihood[LSTMGenerator]):
    """log p(x|z) under an LSTM, with the products of its inputs computed once."""

    def __init__(self, generator: LSTMGenerator, batch: Batch | PaddedBatch) -> None:
        super().__init__(generator, batch)
        self._weights = self._generator.weights()
        tokens, self._targets = self._generator._inputs_and_targets(batch, self._packing)
        self._inputs = self._weights.prepare(F.embedding(tokens, self._generator.embedding))

    def _by_row(self, z: Tensor, of_tokens: OfTokens) -> Tensor:
        generator = self._generator
        copies, rows = z.shape[:-2].numel(), z.shape[-2]
        packing, inputs, targets = self._packing.repeat(copies), self._inputs, self._targets
        if copies > 1:
            inputs, targets = inputs.repeat_interleave(copies, 0), targets.repeat_interleave(copies, 0)
        side_by_side = z.reshape(copies, rows, z.shape[-1]).transpose(0, 1).reshape(rows * copies, z.shape[-1])
        start = generator.initial_h(side_by_side), generator.initial_c(side_by_side)
        hidden = self._weights.scan(inputs, packing, side_by_side, *start)
        return packing.sum_by_row(of_tokens(hidden, targets)).reshape(rows, copies).T.reshape(z.shape[:-1])
