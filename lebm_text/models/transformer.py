r"""The generator p(x|z) as a causal transformer: z is prepended to the sentence and added to each layer's input.

    sequence: P_1 z + p_1, …, P_J z + p_J, embedding(<s>), embedding(x_1), …, embedding(x_{T−1})
    layer l:  h ← h + L_l z;   h ← h + attention(norm(h));   h ← h + W₂ gelu(W₁ norm(h) + b₁) + b₂
    log p(x|z) = Σ_t log softmax(W_o norm(h_t) + b_o)[x_t],  x_T = </s>

(Vaswani et al., NeurIPS 2017; norms before the blocks: Xiong et al., ICML 2020; rotary positions: Su et al., 2021.
z as vectors to attend to and as a term of each input: Li et al., EMNLP 2020.) With D = 0 the J first vectors
are constants, and this is a language model. Attention is torch's `F.scaled_dot_product_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.models.attention import AttentionState, without_cudnn_attention
from lebm_text.models.likelihood import BatchLikelihood, OfTokens
from lebm_text.models.modules import Affine, Embedded, constant, drop_words, dropout
from lebm_text.models.packing import Packing
from lebm_text.models.softmax import OutputLayer
from lebm_text.text.batching import Batch, PaddedBatch

__all__ = ["TransformerGenerator"]

N_PREFIX = 4  # J
WIDENING = 4  # of the feed-forward layers: H → 4H → H
SLOWEST = 10_000.0  # 2π times this is the longest wavelength of the rotary positions, in tokens

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TransformerState(AttentionState):
    """B partial sentences, z (B, D), and the generator with the weights in use."""

    z: Tensor
    generator: TransformerGenerator

    def select(self, rows: Tensor) -> TransformerState:
        return replace(super().select(rows), z=self.z[rows])

    def join(self, other: TransformerState) -> TransformerState:
        return replace(super().join(other), z=torch.cat([self.z, other.z]))


class TransformerGenerator(Embedded):
    """p(x|z) over a closed vocabulary.

    Args:
        vocab_size: V, with the special ids.
        latent_dim: D; 0: a language model.
        embedding_dim, hidden_dim: of the vectors between layers, E = H.
        n_layers, n_heads: L, and the number of attention heads, which divides H.
        bos_id: first token that is read.
        dropout: rate on embeddings, on the output of each block, and on the last states, only in `log_likelihood`.
        word_dropout: rate at which input words are replaced by `unk_id`, only there.
        unk_id: id of `<unk>`.
        tied: the output weights are the embeddings.
        compute_dtype: type of the operands of matrix products; everything else has the parameters' type.
        init_range: matrices and p are uniform in ±init_range, other biases 0, norm scales 1.
        rng: draws the initial parameters.

    Raises:
        InputError: incompatible sizes.
    """

    layers: Sequence[_Layer]

    def __init__(
        self,
        vocab_size: int,
        *,
        latent_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        n_layers: int,
        n_heads: int,
        bos_id: int,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        unk_id: int = 1,
        tied: bool = False,
        compute_dtype: torch.dtype = torch.float32,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        if embedding_dim != hidden_dim or hidden_dim % (2 * n_heads):
            raise InputError(
                "model.generator = transformer needs model.embedding_dim = model.hidden_dim, a multiple of twice "
                f"model.n_heads, got {embedding_dim}, {hidden_dim} and {n_heads}"
            )
        self.latent_dim, self.bos_id, self.unk_id, self.n_heads = latent_dim, bos_id, unk_id, n_heads
        self.dropout, self.word_dropout = dropout, word_dropout
        self.compute_dtype, self.init_range = compute_dtype, init_range
        self.embedding = nn.Parameter(torch.empty(vocab_size, hidden_dim))
        self.prefix = Affine(latent_dim, N_PREFIX * hidden_dim)
        self.layers = nn.ModuleList(_Layer(hidden_dim, latent_dim) for _ in range(n_layers))  # type: ignore[assignment]
        self.norm = nn.LayerNorm(hidden_dim)
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocab_size, hidden_dim))
        self.output_bias = nn.Parameter(torch.empty(vocab_size))
        self.initialise(rng)

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew."""
        for parameter in self.parameters():
            if parameter.dim() > 1 or parameter is self.prefix.bias:  # normalised later, so not 0
                parameter.uniform_(-self.init_range, self.init_range, generator=rng)
            else:
                parameter.zero_()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)

    def output_layer(self) -> OutputLayer:
        """Return the softmax weights in their computation type."""
        weight = self.embedding if self.output_weight is None else self.output_weight
        return OutputLayer(weight.to(self.operand_dtype), self.output_bias)

    def likelihood(self, batch: Batch) -> Likelihood:
        """Return log p(x|z) of one batch as a function of z; parameters are constants, without dropout."""
        return Likelihood(self, batch)

    def padded_likelihood(self, batch: PaddedBatch) -> Likelihood:
        """Return `likelihood` of a padded batch, (R,), 0 for rows without a sentence; the host reads no tensor."""
        return Likelihood(self, batch)

    def log_likelihood(self, batch: Batch | PaddedBatch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p(x|z) in nats, z (B, D) → (B,), differentiable in z and the parameters; see `Generator`."""
        packing = Packing.of_batch(batch)
        hidden = packing.pack(self._read(dropout(self._embed(batch, rng), self.dropout, rng), z, rng))
        log_probs = self.output_layer().log_probs(dropout(hidden, self.dropout, rng), packing.pack(batch.tokens))
        return packing.sum_by_row(log_probs)

    @torch.no_grad()
    def start(self, z: Tensor) -> TransformerState:
        """Return the state before the first token, z (B, D), with the J vectors read, under the current weights."""
        fixed, head_dim = constant(self), self.embedding.shape[1] // self.n_heads
        nothing = z.new_empty(len(z), self.n_heads, 0, head_dim)
        none = torch.zeros(len(z), dtype=torch.long, device=z.device)
        begun = TransformerState((nothing,) * (2 * len(self.layers)), none, z, fixed)
        return fixed._append(fixed._prefix(z), begun)[1]

    @torch.no_grad()
    def step(self, tokens: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Return logits (B, V) of the token after `tokens` (B,) and the state after reading them, without gradients."""
        generator = state.generator
        hidden, state = generator._append(F.embedding(tokens, generator.embedding).unsqueeze(1), state)
        return generator.output_layer().logits(hidden[:, -1]), state

    def _embed(self, batch: Batch | PaddedBatch, rng: torch.Generator | None = None) -> Tensor:
        ids = F.pad(batch.tokens[:, :-1], (1, 0), value=self.bos_id)
        return F.embedding(drop_words(ids, self.word_dropout, self.unk_id, self.bos_id, rng), self.embedding)

    def _prefix(self, z: Tensor) -> Tensor:
        """Return the J vectors of each z, (B, J, H)."""
        prefix: Tensor = self.prefix(z)
        return prefix.view(len(z), N_PREFIX, -1)

    def _read(self, embedded: Tensor, z: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the last states (B, T, H) of whole sentences, embedded (B, T, H)."""
        h = torch.cat([self._prefix(z), embedded], dim=1)
        place = torch.arange(h.shape[1], device=h.device)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(_rotate(q, place), _rotate(k, place), v, is_causal=True)

        return self._run(h, z, attend, rng)[:, N_PREFIX:]

    def _append(self, h: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Return the last states (B, n, H) of n more vectors of each row, and the state with them."""
        place = state.length[:, None, None] + torch.arange(h.shape[1], device=h.device)  # (B, 1, n)
        seen = state.seen(h.shape[1]).unsqueeze(1)
        memory: list[Tensor] = []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            before = state.memory[2 * layer : 2 * layer + 2]
            keys, values = (
                torch.cat([old.to(k.dtype), new], dim=2)
                for old, new in zip(before, (_rotate(k, place), v), strict=True)
            )
            memory.extend((keys, values))
            return F.scaled_dot_product_attention(_rotate(q, place), keys, values, attn_mask=seen)

        hidden = self._run(h, state.z, attend)
        return hidden, replace(state, memory=tuple(memory), length=state.length + h.shape[1])

    def _run(self, h: Tensor, z: Tensor, attend: Attend, rng: torch.Generator | None = None) -> Tensor:
        """Return the last states (B, n, H) of vectors h (B, n, H); `attend` takes a layer's number, q, k and v."""
        for number, layer in enumerate(self.layers):
            h = h + F.linear(z, layer.latent).unsqueeze(1)
            joint = self._product(layer.attention_in, layer.attention_norm(h))
            if h.device.type == "cpu":  # the gradient of its attention in bfloat16 takes seven times as long
                joint = joint.to(h.dtype)
            heads = joint.view(*joint.shape[:2], 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, heads, n, d)
            with without_cudnn_attention(h.device):
                attended = attend(number, *heads.unbind(0)).transpose(1, 2).flatten(2)
            h = h + dropout(self._product(layer.attention_out, attended).to(h.dtype), self.dropout, rng)
            between = F.gelu(self._product(layer.widen, layer.between_norm(h)))
            h = h + dropout(self._product(layer.narrow, between).to(h.dtype), self.dropout, rng)
        return self.norm(h)  # type: ignore[no-any-return]

    def _product(self, affine: nn.Linear, x: Tensor) -> Tensor:
        dtype = self.operand_dtype
        return F.linear(x.to(dtype), affine.weight.to(dtype), affine.bias.to(dtype))


class Likelihood(BatchLikelihood[TransformerGenerator]):
    """log p(x|z) under a transformer, with the words embedded once."""

    def __init__(self, generator: TransformerGenerator, batch: Batch | PaddedBatch) -> None:
        super().__init__(generator, batch)
        self._embedded, self._targets = self._generator._embed(batch), self._packing.pack(batch.tokens)

    def _by_row(self, z: Tensor, of_tokens: OfTokens) -> Tensor:
        copies, rows, packing = z.shape[:-2].numel(), z.shape[-2], self._packing
        hidden = self._generator._read(self._embedded.repeat(copies, 1, 1), z.reshape(copies * rows, z.shape[-1]))
        packed = hidden.view(copies, rows, *hidden.shape[1:])[:, packing.row, packing.time].flatten(0, 1)
        found = of_tokens(packed, self._targets.repeat(copies)).view(copies, -1)
        return packing.sum_by_row(found.T).T.reshape(z.shape[:-1])


class _Layer(nn.Module):
    """The parameters of one layer."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.empty(width, latent_dim))
        self.attention_norm, self.between_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention_in, self.attention_out = Affine(width, 3 * width), Affine(width, width)
        self.widen, self.narrow = Affine(width, WIDENING * width), Affine(WIDENING * width, width)


def _rotate(x: Tensor, place: Tensor) -> Tensor:
    """Apply rotary positions: rotate pairs of components of x (B, heads, n, d) by their position, (n,) or (B, 1, n)."""
    half = x.shape[-1] // 2
    rate = SLOWEST ** -(torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angle = place.unsqueeze(-1) * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)
