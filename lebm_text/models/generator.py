r"""The generator p(x|z): an LSTM with z in its initial state and at every input.

    h_0 = W_h z + b_h,  c_0 = W_c z + b_c,  input_t = [embedding(x_{t-1}); z],  x_0 = <s>
    log p(x|z) = Σ_t log softmax(W_o h_t + b_o)[x_t],  x_T = </s>

(Pang et al., NeurIPS 2020, text experiments; Bowman et al., 2016, for z as the decoder's state.) With D = 0, z is the
empty vector and this is an LSTM language model with a learned initial state.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.layer import LSTMLayer
from lebm_text.models.lstm import lstm_step
from lebm_text.models.packing import Packing
from lebm_text.models.precision import operand_dtype
from lebm_text.models.softmax import OutputLayer
from lebm_text.text.batching import Batch

__all__ = ["DecoderState", "LSTMGenerator", "Likelihood"]


@dataclass(frozen=True)
class DecoderState:
    """B half-written sentences: h, c (B, H), z's share of the gates (B, 4H), and the weights in use."""

    h: Tensor
    c: Tensor
    offset: Tensor
    weights: _Weights

    def select(self, rows: Tensor) -> DecoderState:
        """The state of some rows, given by index, in that order; repeats are allowed."""
        return DecoderState(self.h[rows], self.c[rows], self.offset[rows], self.weights)

    def join(self, other: DecoderState) -> DecoderState:
        """These rows, then those of `other`, under the same weights."""
        h, c, offset = (torch.cat([getattr(self, x), getattr(other, x)]) for x in ("h", "c", "offset"))
        return DecoderState(h, c, offset, self.weights)


class LSTMGenerator(nn.Module):
    """p(x|z) over a closed vocabulary.

    Args:
        vocab_size: V, with the special ids.
        latent_dim, embedding_dim, hidden_dim: D (0: a language model), E, H.
        bos_id: first input of every sentence.
        dropout: rate on embeddings and LSTM outputs, used by `log_likelihood` alone.
        tied: the output weights are the embeddings (E = H).
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
        bos_id: int,
        dropout: float = 0.0,
        tied: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.latent_dim, self.hidden_dim = latent_dim, hidden_dim
        self.bos_id, self.dropout, self.compute_dtype = bos_id, dropout, compute_dtype
        self.embedding = nn.Parameter(torch.empty(vocab_size, embedding_dim))
        self.token_weight = nn.Parameter(torch.empty(4 * hidden_dim, embedding_dim))
        self.latent_weight = nn.Parameter(torch.empty(4 * hidden_dim, latent_dim))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * hidden_dim, hidden_dim))
        self.gate_bias = nn.Parameter(torch.empty(4 * hidden_dim))
        self.initial_h = _Affine(latent_dim, hidden_dim)
        self.initial_c = _Affine(latent_dim, hidden_dim)
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocab_size, hidden_dim))
        self.output_bias = nn.Parameter(torch.empty(vocab_size))
        self.init_range = init_range
        self.initialise(rng)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.embedding.device

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew."""
        for parameter in self.parameters():
            parameter.uniform_(-self.init_range, self.init_range, generator=rng)

    def likelihood(self, batch: Batch) -> Likelihood:
        """log p(x|z) of one batch as a function of z, with everything that z does not touch done once."""
        return Likelihood(self, batch)

    def log_likelihood(self, batch: Batch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """log p(x|z) in nats, differentiable in z and the parameters.

        Args:
            batch: B sentences.
            z: (B, D).
            rng: draws the dropout masks; without it there is no dropout.

        Returns:
            (B,)
        """
        packing = Packing.of(batch.lengths, batch.tokens.device)
        inputs, targets = self._inputs_and_targets(batch, packing)
        embedded = self._drop(F.embedding(inputs, self.embedding), rng)
        weights = _Weights.of(self)
        hidden = self._drop(weights.scan(weights.layer.prepare(embedded), z, packing), rng)
        return packing.sum_by_row(weights.output.log_probs(hidden, targets))

    def start(self, z: Tensor) -> DecoderState:
        """State before the first token, z (B, D). It keeps the weights as they are now."""
        weights = _Weights.of(self).detached()
        return DecoderState(*weights.start(z), weights.layer.offset(z), weights)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits of the next token after `tokens`, without gradients.

        Args:
            tokens: (B,) ids just read; `bos_id` first.
            state: of the same B rows.

        Returns:
            (B, V) logits in the parameters' type, and the state after reading `tokens`.
        """
        weights = state.weights
        recurrent = weights.layer.recurrent
        gates = weights.layer.project(F.embedding(tokens, self.embedding.detach())).add_(state.offset)
        gates += F.linear(state.h.to(recurrent.dtype), recurrent)
        h, c = lstm_step(gates, state.c)
        return weights.output.logits(h), DecoderState(h, c, state.offset, weights)

    def _inputs_and_targets(self, batch: Batch, packing: Packing) -> tuple[Tensor, Tensor]:
        inputs = F.pad(batch.tokens[:, :-1], (1, 0), value=self.bos_id)
        return packing.pack(inputs), packing.pack(batch.tokens)

    def _drop(self, values: Tensor, rng: torch.Generator | None) -> Tensor:
        """Dropout from `rng`: torch's own has no generator and would tie a resumed run to global state."""
        if rng is None or self.dropout == 0:
            return values
        keep = 1.0 - self.dropout
        mask = torch.empty(values.shape, device=values.device).bernoulli_(keep, generator=rng).div_(keep)
        return values * mask.to(values.dtype)


class _Affine(nn.Linear):
    """`nn.Linear` draws its initial values from torch's global stream and warns of a width of 0; this one has none."""

    def reset_parameters(self) -> None:
        """Leave them to `LSTMGenerator.initialise`."""


@dataclass(frozen=True)
class _Weights:
    """The generator's weights as they are used: see `LSTMLayer` and `OutputLayer`."""

    layer: LSTMLayer
    initial_h: Tensor
    initial_h_bias: Tensor
    initial_c: Tensor
    initial_c_bias: Tensor
    output: OutputLayer

    @classmethod
    def of(cls, generator: LSTMGenerator) -> _Weights:
        dtype = operand_dtype(generator.embedding.dtype, generator.compute_dtype)
        output = generator.embedding if generator.output_weight is None else generator.output_weight
        return cls(
            layer=LSTMLayer.of(
                generator.token_weight,
                generator.recurrent_weight,
                latent_weight=generator.latent_weight,
                token_bias=generator.gate_bias,
                dtype=dtype,
            ),
            initial_h=generator.initial_h.weight,
            initial_h_bias=generator.initial_h.bias,
            initial_c=generator.initial_c.weight,
            initial_c_bias=generator.initial_c.bias,
            output=OutputLayer(output.to(dtype), generator.output_bias),
        )

    def detached(self) -> _Weights:
        """The same values as constants."""
        return _Weights(**{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """h0 and c0, (B, H)."""
        return F.linear(z, self.initial_h, self.initial_h_bias), F.linear(z, self.initial_c, self.initial_c_bias)

    def scan(self, prepared: Tensor, z: Tensor, packing: Packing) -> Tensor:
        """Packed hidden states (N, H) of prepared tokens under z (B, D)."""
        return self.layer.scan(prepared, z, *self.start(z), packing)


class Likelihood:
    """log p(x|z) of a fixed batch under fixed parameters, no dropout.

    Valid until the parameters change; a later call raises RuntimeError.
    """

    def __init__(self, generator: LSTMGenerator, batch: Batch) -> None:
        self._generator, self._version = generator, _version(generator)
        self._packing = Packing.of(batch.lengths, batch.tokens.device)
        self._weights = _Weights.of(generator).detached()
        tokens, self._targets = generator._inputs_and_targets(batch, self._packing)
        self._inputs = self._weights.layer.prepare(F.embedding(tokens, generator.embedding.detach()))

    def __call__(self, z: Tensor) -> Tensor:
        """z (..., B, D) → (..., B) in nats; the gradient reaches z alone."""
        if _version(self._generator) != self._version:
            raise RuntimeError("the generator's parameters changed since likelihood(batch) was called")
        copies, rows = z.shape[:-2].numel(), z.shape[-2]
        packing, inputs, targets = self._packing.repeat(copies), self._inputs, self._targets
        if copies > 1:
            inputs, targets = inputs.repeat_interleave(copies, 0), targets.repeat_interleave(copies, 0)
        side_by_side = z.reshape(copies, rows, z.shape[-1]).transpose(0, 1).reshape(rows * copies, z.shape[-1])
        hidden = self._weights.scan(inputs, side_by_side, packing)
        log_probs = packing.sum_by_row(self._weights.output.log_probs(hidden, targets))
        return log_probs.reshape(rows, copies).T.reshape(z.shape[:-1])


def _version(generator: LSTMGenerator) -> int:
    return sum(parameter._version for parameter in generator.parameters())
