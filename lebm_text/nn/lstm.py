r"""LSTM over packed sequences, with the derivative written out by hand.

    i, f, o = σ(a_i), σ(a_f), σ(a_o);   g = tanh(a_g);   c ← f c + i g;   h = o tanh(c)
    a_t = input_t + offset + W h_{t-1}

(Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.) Gates stand in the order i, f, o, g.
Since tanh(a) = 2σ(2a) − 1, callers double the rows of g (`gate_scale`) and one sigmoid serves all four gates.

Packed layout: rows are sorted longest first; time step t holds its n_t running rows, and all steps
follow one another in one array of N = Σ_t n_t tokens. No padded position is ever computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gate_scale", "lstm_scan", "lstm_step"]


def gate_scale(hidden_dim: int, like: Tensor) -> Tensor:
    """(4H, 1): 1 for i, f, o and 2 for g; multiplies every weight that feeds the gates."""
    scale = torch.ones(4 * hidden_dim, 1, dtype=like.dtype, device=like.device)
    scale[3 * hidden_dim :] = 2.0
    return scale


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step without a gradient, for generation.

    Args:
        gates: (B, 4H) scaled pre-activations; overwritten.
        c: (B, H) cell state.

    Returns:
        h and c, each (B, H).
    """
    new_c, tanh_c, h = torch.empty_like(c), torch.empty_like(c), torch.empty_like(c)
    _cell(gates, c, new_c, tanh_c, h)
    return h, new_c


def lstm_scan(
    inputs: Tensor,
    offset: Tensor,
    weight: Tensor,
    h0: Tensor,
    c0: Tensor,
    batch_sizes: Sequence[int],
) -> Tensor:
    """All hidden states of a packed batch.

    Args:
        inputs: (N, 4H) scaled pre-activations from the tokens, packed.
        offset: (B, 4H) added at every step of a row (z's projection).
        weight: (4H, H) scaled recurrent weight; its dtype is that of the matrix products.
        h0, c0: (B, H) initial state.
        batch_sizes: n_t for t = 0, 1, …; never rising.

    Returns:
        (N, H) hidden states, packed, in the dtype of `weight`.
    """
    hidden: Tensor = _Scan.apply(inputs, offset, weight, h0, c0, tuple(batch_sizes))  # type: ignore[no-untyped-call]
    return hidden


def _cell(gates: Tensor, c: Tensor, new_c: Tensor, tanh_c: Tensor, h: Tensor) -> None:
    """Activate `gates` in place (the g block keeps σ(2a)) and fill the three outputs."""
    i, f, o, g = gates.sigmoid_().tensor_split(4, dim=1)
    torch.mul(f, c, out=new_c)
    new_c.addcmul_(i, g, value=2.0).sub_(i)  # i (2σ − 1)
    torch.tanh(new_c, out=tanh_c)
    torch.mul(o, tanh_c, out=h)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        offset: Tensor,
        weight: Tensor,
        h0: Tensor,
        c0: Tensor,
        batch_sizes: tuple[int, ...],
    ) -> Tensor:
        n_tokens, width = inputs.shape[0], h0.shape[1]
        transposed = weight.t()
        gates = torch.empty_like(inputs)
        cells, tanh_cells = inputs.new_empty(n_tokens, width), inputs.new_empty(n_tokens, width)
        hidden = torch.empty(n_tokens, width, dtype=weight.dtype, device=inputs.device)
        h, c, start = h0.to(weight.dtype), c0, 0
        for n in batch_sizes:
            now = slice(start, start + n)
            torch.add(inputs[now], offset[:n], out=gates[now])
            gates[now].add_(torch.mm(h[:n], transposed))
            _cell(gates[now], c[:n], cells[now], tanh_cells[now], hidden[now])
            h, c, start = hidden[now], cells[now], start + n
        ctx.save_for_backward(gates, cells, tanh_cells, hidden, weight, h0, c0)
        ctx.batch_sizes = batch_sizes
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, tanh_cells, hidden, weight, h0, c0 = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.batch_sizes
        rows, width = h0.shape
        need_weight = ctx.needs_input_grad[2]
        grads = torch.empty_like(gates) if need_weight or ctx.needs_input_grad[0] else None
        scratch = gates.new_empty(rows, 4 * width)
        grad_offset = gates.new_zeros(rows, 4 * width)
        dh, dc = gates.new_zeros(rows, width), gates.new_zeros(rows, width)
        end = hidden.shape[0]
        for t in range(len(sizes) - 1, -1, -1):
            n, now = sizes[t], slice(end - sizes[t], end)
            end -= n
            before = cells[end - sizes[t - 1] : end] if t else c0
            step = scratch[:n] if grads is None else grads[now]
            dh[:n].add_(grad_hidden[now])
            _cell_backward(gates[now], before[:n], tanh_cells[now], dh[:n], dc[:n], step)
            grad_offset[:n].add_(step)
            dh[:n].copy_(torch.mm(step.to(weight.dtype), weight))
        grad_weight = None
        if need_weight:
            assert grads is not None
            previous = torch.cat([h0.to(weight.dtype), *_without_last(hidden, sizes)])
            grad_weight = torch.mm(grads.to(weight.dtype).t(), previous)
        return grads, grad_offset, grad_weight, dh, dc, None


def _cell_backward(gates: Tensor, c: Tensor, tanh_c: Tensor, dh: Tensor, dc: Tensor, out: Tensor) -> None:
    """Fill `out` (n, 4H) with the gradient of the pre-activations; turn dc_t into dc_{t-1} in place."""
    i, f, o, g = gates.tensor_split(4, dim=1)
    di, df, do, dg = out.tensor_split(4, dim=1)
    dc.add_(torch.ops.aten.tanh_backward(dh * o, tanh_c))
    torch.mul(dh, tanh_c, out=do)
    torch.mul(dc, c, out=df)
    torch.mul(dc, g, out=di).mul_(2.0).sub_(dc)
    torch.mul(dc, i, out=dg).mul_(2.0)
    torch.ops.aten.sigmoid_backward.grad_input(out, gates, grad_input=out)
    dc.mul_(f)


def _without_last(hidden: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """h_{t-1} of the rows that run at step t, for t = 1, 2, …"""
    steps = torch.split_with_sizes(hidden, list(sizes))
    return [step[:n] for step, n in zip(steps[:-1], sizes[1:], strict=True)]
