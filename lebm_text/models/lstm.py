r"""One LSTM for generator, encoder and judge, over packed sequences, with a hand-written derivative.

    a_t = W_x x_t + W_z z + b + W_h h_{t-1}
    i, f, o = σ(a_i), σ(a_f), σ(a_o);   g = tanh(a_g);   c ← f c + i g;   h = o tanh(c)

(Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.) Gates are in the order i, f, o, g.
On a CPU a tanh costs as much as several sigmoids, so tanh(a) = 2σ(2a) − 1 is used twice: the rows of g are doubled
once (`LSTM.weights`), which makes one sigmoid of all four gates, and inside, the cell state is held as 2c.

W_x x_t is computed once per batch, whatever z is, and `lstm_scan` runs the steps. In comparison, on one
thread, updates with `torch.lstm` on the same packed data took 5 to 29 % longer at V = 10,000 and 34 to 75 % at
V = 1,900 if lengths differ, and about as long if all are equal (benchmarks/ablation.py). On a GPU the many small
operations of a step cost more than that product: there cuDNN takes [x_t; z] with [W_x W_z] and runs all steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lebm_text.models.modules import Embedded
from lebm_text.models.packing import Packing

__all__ = ["LSTM", "LSTMWeights", "compute_dtype", "library_runs", "lstm_scan", "resolve_precision"]

# Up to this H cuDNN takes an algorithm of its own for padded input (get_algo in torch's RNN.cpp), of which version 9.19
# has no kernels in bfloat16; above, that for packed input.
SMALL_WIDTH = 192
TF32_SINCE = (8, 0)  # the compute capability from which cuDNN rounds float32 operands of an LSTM to 10 bits


class LSTM(Embedded):
    """Token embeddings and LSTM parameters; subclasses add the layers that read its states and initialise everything.

    Args:
        n_types: rows of the embeddings.
        embedding_dim, hidden_dim: E, H.
        latent_dim: D; None: no z.
        compute_dtype: type of the operands of large matrix products; everything else has the parameters' type.
    """

    def __init__(
        self,
        n_types: int,
        *,
        embedding_dim: int,
        hidden_dim: int,
        latent_dim: int | None = None,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.hidden_dim, self.compute_dtype = hidden_dim, compute_dtype
        self.embedding = nn.Parameter(torch.empty(n_types, embedding_dim))
        self.token_weight = nn.Parameter(torch.empty(4 * hidden_dim, embedding_dim))
        self.latent_weight = None if latent_dim is None else nn.Parameter(torch.empty(4 * hidden_dim, latent_dim))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * hidden_dim, hidden_dim))
        self.gate_bias = nn.Parameter(torch.empty(4 * hidden_dim))

    def weights(self, *, bias_per_row: bool = False) -> LSTMWeights:
        """Return the weights in computation form, differentiable; see `LSTMWeights.bias_per_row`."""
        recurrent, dtype = self.recurrent_weight, self.operand_dtype
        scale = torch.ones_like(self.gate_bias).unsqueeze(1)
        scale[3 * self.hidden_dim :].fill_(2.0)
        latent = recurrent.new_empty(len(recurrent), 0) if self.latent_weight is None else self.latent_weight
        return LSTMWeights(
            token=(self.token_weight * scale).to(dtype),
            recurrent=(recurrent * scale).to(dtype),
            latent=latent * scale,
            bias=self.gate_bias * scale.squeeze(1),
            bias_per_row=bias_per_row,
            library=library_runs(self.device, dtype),
        )


@dataclass(frozen=True)
class LSTMWeights:
    """LSTM weights in computation form: rows of g doubled, operands of large products cast.

    Attributes:
        token: (4H, E), for x.
        recurrent: (4H, H).
        latent: (4H, D), for z; D may be 0.
        bias: (4H,).
        bias_per_row: add the bias to each row's part of the gates instead of each token's. The sum is the same, but
            its gradient, summed over rows first, is rounded differently from one summed over tokens.
        library: whether cuDNN runs the steps.
    """

    token: Tensor
    recurrent: Tensor
    latent: Tensor
    bias: Tensor
    bias_per_row: bool
    library: bool

    def prepare(self, embedded: Tensor) -> Tensor:
        """Return the input of `scan` for tokens, (N, E) → (N, …): everything that does not depend on z."""
        return embedded.to(self.token.dtype) if self.library else self._project(embedded)

    def offset(self, z: Tensor) -> Tensor:
        """Return the rows' part of the gates, (B, D) → (B, 4H)."""
        return F.linear(z, self.latent, self.bias if self.bias_per_row else None)

    def scan(
        self,
        prepared: Tensor,
        packing: Packing,
        z: Tensor | None = None,
        h0: Tensor | None = None,
        c0: Tensor | None = None,
    ) -> Tensor:
        """Return all hidden states.

        Args:
            prepared: (N, …) result of `prepare`, packed.
            packing: of the same tokens.
            z: (B, D); None if D = 0.
            h0, c0: (B, H); zero by default.

        Returns:
            (N, H) packed, in the parameters' type.
        """
        zeros = self.latent.new_zeros(packing.batch_sizes[0], self.recurrent.shape[1])
        z, h0, c0 = (zeros[:, :0] if z is None else z, zeros if h0 is None else h0, zeros if c0 is None else c0)
        if not self.library:
            return lstm_scan(prepared, self.offset(z), self.recurrent, h0, c0, packing.batch_sizes)
        dtype = self.recurrent.dtype
        if z.shape[1]:
            prepared = torch.cat([prepared, z.index_select(0, packing.row).to(dtype)], dim=1)
        start = [state.to(dtype).unsqueeze(0) for state in (h0, c0)]
        training = torch.is_grad_enabled()  # if not, cuDNN stores nothing for a gradient
        settings = self._library_weights, True, 1, 0.0, training, False
        if packing.inside is not None and self.recurrent.shape[1] > SMALL_WIDTH:
            steps = prepared.view(len(packing.batch_sizes), -1, prepared.shape[1])
            hidden = torch.lstm(steps, start, *settings, False)[0].flatten(0, 1)
        else:
            sizes = torch.tensor(packing.batch_sizes)  # cuDNN reads them on the host
            hidden = torch.lstm(prepared, sizes, start, *settings)[0]
        return hidden.to(self.latent.dtype)

    def step(self, embedded: Tensor, offset: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and c after one more token of each row, without gradients; for generation.

        Args:
            embedded: (B, E).
            offset: (B, 4H) result of `offset`.
            h, c: (B, H).
        """
        gates = self._project(embedded).add_(offset)
        gates += F.linear(h.to(self.recurrent.dtype), self.recurrent)
        twice_c, squashed, h = (torch.empty_like(c) for _ in range(3))
        _cell(gates, 2 * c, twice_c, squashed, h)
        return h, twice_c.div_(2)

    def _project(self, embedded: Tensor) -> Tensor:
        """Return the tokens' part of the gates, (N, E) → (N, 4H) in the parameters' type."""
        product = F.linear(embedded.to(self.token.dtype), self.token)
        return product.to(self.latent.dtype) if self.bias_per_row else product + self.bias

    @cached_property
    def _library_weights(self) -> list[Tensor]:
        """Return [W_x W_z], W_h and the two biases that cuDNN expects; gates in the order i, f, g, o, none doubled.

        They are views of one array in cuDNN's own order, otherwise it would copy them at every call.
        """
        dtype = self.recurrent.dtype
        ordered = [torch.cat([self.token, self.latent.to(dtype)], dim=1), self.recurrent, self.bias.to(dtype)]
        ordered = [torch.cat([i, f, 0.5 * g, o]) for i, f, o, g in (weight.chunk(4) for weight in ordered)]
        ordered.append(torch.zeros_like(ordered[-1]))
        flat = torch.cat([weight.flatten() for weight in ordered])
        parts = flat.split_with_sizes([weight.numel() for weight in ordered])
        return [part.view(weight.shape) for part, weight in zip(parts, ordered, strict=True)]


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return "bf16" for "auto" if the machine multiplies bfloat16 natively, else "fp32"; other values are unchanged.

    The check reads capabilities and measures nothing, so it gives the same answer on one machine every time.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if native else "fp32"


def compute_dtype(precision: str) -> torch.dtype:
    """Return the type of matrix operands for a resolved precision, "fp32" or "bf16"."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def library_runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether cuDNN runs an LSTM with operands of `dtype` on `device` as exactly as `dtype` promises.

    False on a CPU, and for float32 where cuDNN would use TF32: the flags against that affect the whole
    process, and a plain scan is available. The answer depends only on the machine, so its results are reproducible.
    """
    if device.type != "cuda" or not (torch._C._has_cudnn and torch.backends.cudnn.enabled):
        return False
    if dtype == torch.float32 and torch.cuda.get_device_capability(device) >= TF32_SINCE:
        return False
    return _library_works(device, dtype)


@cache
def _library_works(device: torch.device, dtype: torch.dtype) -> bool:
    """Run one tiny LSTM forward and backward; a failure is reported as one warning."""
    ones = torch.ones(4, 1, device=device, dtype=dtype, requires_grad=True)
    weights = LSTMWeights(ones, ones, ones[:, :0], ones[:, 0], bias_per_row=False, library=True)
    try:
        with torch.enable_grad():
            hidden = weights.scan(ones[:2].detach(), Packing.of(torch.tensor([2]), device))
            torch.autograd.grad(hidden.sum(), ones)
    except RuntimeError as error:
        warnings.warn(f"cuDNN runs no LSTM in {dtype}; a slower one takes its place: {error}", stacklevel=2)
        return False
    return True


def lstm_scan(
    inputs: Tensor, offset: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, batch_sizes: Sequence[int]
) -> Tensor:
    """Return all hidden states of a packed batch.

    Args:
        inputs: (N, 4H) pre-activations from the tokens, packed; here and below the rows of g are doubled.
        offset: (B, 4H) added at every step of a row (z's projection).
        weight: (4H, H) recurrent weight; its type is that of the matrix products.
        h0, c0: (B, H) initial state.
        batch_sizes: n_t for t = 0, 1, …; non-increasing.

    Returns:
        (N, H) hidden states, packed, in the type of `inputs`.
    """
    hidden: Tensor = _Scan.apply(inputs, offset, weight, h0, c0, tuple(batch_sizes))  # type: ignore[no-untyped-call]
    return hidden


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, offset: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        rows, width = h0.shape
        transposed, product = weight.t().contiguous(), weight.new_empty(rows, 4 * width)
        gates = torch.empty_like(inputs)
        cells, squashed, hidden = (inputs.new_empty(len(inputs), width) for _ in range(3))
        by_step = (packed.split_with_sizes(sizes) for packed in (inputs, gates, cells, squashed, hidden))
        h, c = h0, 2 * c0
        for step_inputs, step_gates, step_c, step_squashed, step_h in zip(*by_step, strict=True):
            n = len(step_h)
            torch.add(step_inputs, offset[:n], out=step_gates)
            step_gates.add_(torch.mm(h[:n].to(weight.dtype), transposed, out=product[:n]))
            _cell(step_gates, c[:n], step_c, step_squashed, step_h)
            h, c = step_h, step_c
        ctx.save_for_backward(gates, cells, squashed, hidden, weight, h0, c0)
        ctx.sizes = sizes
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, squashed, hidden, weight, h0, c0 = ctx.saved_tensors
        rows, width = h0.shape
        of_cell, grads = _factors(gates, _previous(2 * c0, cells, ctx.sizes), squashed)
        grad_offset = gates.new_zeros(rows, 4 * width)
        grad_h, grad_c = gates.new_zeros(rows, width), gates.new_zeros(rows, width)
        product, end = weight.new_empty(rows, width), len(gates)
        for n in reversed(ctx.sizes):
            now, dh, dc = slice(end - n, end), grad_h[:n], grad_c[:n]
            dh.add_(grad_hidden[now])
            dc.addcmul_(dh, of_cell[now])
            by_gate = grads[now].view(n, 4, width)
            by_gate[:, :2].mul_(dc.unsqueeze(1))
            by_gate[:, 2].mul_(dh)
            by_gate[:, 3].mul_(dc)
            grad_offset[:n].add_(grads[now])
            dc.mul_(gates[now, width : 2 * width])
            dh.copy_(torch.mm(grads[now].to(weight.dtype), weight, out=product[:n]))
            end -= n
        grad_weight = None
        if ctx.needs_input_grad[2]:
            previous = _previous(h0, hidden, ctx.sizes).to(weight.dtype)
            grad_weight = torch.mm(grads.to(weight.dtype).t(), previous)
        return grads, grad_offset, grad_weight, grad_h, grad_c, None


def _cell(gates: Tensor, before: Tensor, twice_c: Tensor, squashed: Tensor, h: Tensor) -> None:
    """Activate the gates in place (g holds σ(2a)) and fill 2c, σ(2c) and h; `before` is 2c of the previous step."""
    i, f, o, g = gates.sigmoid_().chunk(4, dim=1)
    torch.mul(f, before, out=twice_c)
    twice_c.addcmul_(i, g, value=4.0).sub_(i, alpha=2.0)
    torch.sigmoid(twice_c, out=squashed)
    torch.mul(o, squashed, out=h).mul_(2.0).sub_(o)


def _factors(gates: Tensor, before: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of dh in dc, o (1 − tanh² c), and of dc or dh in each pre-activation's gradient."""
    i, _, o, g = gates.chunk(4, dim=1)
    of_cell = torch.addcmul(squashed, squashed, squashed, value=-1.0).mul_(o).mul_(4.0)
    of_gates = torch.addcmul(gates, gates, gates, value=-1.0)
    of_i, of_f, of_o, of_g = of_gates.chunk(4, dim=1)
    of_i.mul_(torch.mul(g, 2.0).sub_(1.0))
    of_f.mul_(before).mul_(0.5)
    of_o.mul_(torch.mul(squashed, 2.0).sub_(1.0))
    of_g.mul_(i).mul_(2.0)
    return of_cell, of_gates


def _previous(first: Tensor, packed: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the state before each token, (N, H): that after the row's previous token, or `first` (B, H)."""
    steps = packed.split_with_sizes(sizes)
    return torch.cat([first, *(step[:n] for step, n in zip(steps, sizes[1:], strict=False))])
