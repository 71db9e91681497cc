r"""LSTM over packed sequences, with the derivative written out by hand.

    i, f, o = σ(a_i), σ(a_f), σ(a_o);   g = tanh(a_g);   c ← f c + i g;   h = o tanh(c)
    a_t = input_t + offset + W h_{t-1}

(Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.) Gates stand in the order i, f, o, g.
On a CPU a tanh costs as much as several sigmoids, so tanh(a) = 2σ(2a) − 1 is used twice: callers double the rows of
g (`gate_scale`), which makes one sigmoid of all four gates, and inside the cell state is held as 2c.

Packed layout: rows are sorted longest first; time step t holds its n_t running rows, and all steps
follow one another in one array of N = Σ_t n_t tokens. No padded position is ever computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gate_scale", "lstm_scan", "lstm_step"]

# Elements of the factors that the backward pass forms at a time: some steps' worth, so that they are formed by few
# large operations and are still in the cache when they are used.
BLOCK_ELEMENTS = 1 << 20


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
    twice_c, squashed, h = torch.empty_like(c), torch.empty_like(c), torch.empty_like(c)
    _cell(gates, gates.chunk(4, dim=1), 2 * c, twice_c, squashed, h)
    return h, twice_c.div_(2)


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
        (N, H) hidden states, packed, in the dtype of `inputs`.
    """
    hidden: Tensor = _Scan.apply(inputs, offset, weight, h0, c0, tuple(batch_sizes))  # type: ignore[no-untyped-call]
    return hidden


def _cell(
    gates: Tensor, blocks: Sequence[Tensor], before: Tensor, twice_c: Tensor, squashed: Tensor, h: Tensor
) -> None:
    """Activate the gates in place (g holds σ(2a)) and fill 2c, σ(2c) and h; `before` is 2c of the step before."""
    gates.sigmoid_()
    i, f, o, g = blocks
    torch.mul(f, before, out=twice_c)
    twice_c.addcmul_(i, g, value=4.0).sub_(i, alpha=2.0)
    torch.sigmoid(twice_c, out=squashed)
    torch.mul(o, squashed, out=h).mul_(2.0).sub_(o)


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
        n_tokens, (rows, width) = inputs.shape[0], h0.shape
        transposed = weight.t().contiguous()
        product = weight.new_empty(rows, 4 * width)
        gates = torch.empty_like(inputs)
        cells, squashed, hidden = (inputs.new_empty(n_tokens, width) for _ in range(3))
        steps = zip(
            _steps(inputs, batch_sizes),
            _steps(gates, batch_sizes),
            zip(*(_steps(block, batch_sizes) for block in gates.chunk(4, dim=1)), strict=True),
            *(_steps(state, batch_sizes) for state in (cells, squashed, hidden)),
            strict=True,
        )
        h, c = h0, 2 * c0
        for step_inputs, step_gates, blocks, step_c, step_squashed, step_h in steps:
            n = len(step_h)
            torch.add(step_inputs, offset[:n], out=step_gates)
            step_gates.add_(torch.mm(h[:n].to(weight.dtype), transposed, out=product[:n]))
            _cell(step_gates, blocks, c[:n], step_c, step_squashed, step_h)
            h, c = step_h, step_c
        ctx.save_for_backward(gates, cells, squashed, hidden, weight, h0, c0)
        ctx.batch_sizes = batch_sizes
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor | None, ...]:
        gates, cells, squashed, hidden, weight, h0, c0 = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.batch_sizes
        rows, width = h0.shape
        need_weight = ctx.needs_input_grad[2]
        grads = torch.empty_like(gates) if need_weight or ctx.needs_input_grad[0] else None
        scratch = gates.new_empty(rows, 4 * width)
        grad_offset = gates.new_zeros(rows, 4 * width)
        dh, dc, product = gates.new_zeros(rows, width), gates.new_zeros(rows, width), weight.new_empty(rows, width)
        carried = 0  # rows that already run at the following step: dh and dc hold their gradients
        for first, last, start, end in _blocks_backward(sizes, 4 * width):
            before = _previous(2 * c0, cells, sizes, first, last, start)
            of_cell, of_gates = _factors(gates[start:end], before, squashed[start:end])
            for t in range(last - 1, first - 1, -1):
                n = sizes[t]
                now, inside = slice(end - n, end), slice(end - n - start, end - start)
                dh[:carried].add_(grad_hidden[end - n : end - n + carried])
                dh[carried:n] = grad_hidden[end - n + carried : end]
                step = scratch[:n] if grads is None else grads[now]
                _cell_backward(gates[now, width : 2 * width], of_cell[inside], of_gates[inside], dh[:n], dc[:n], step)
                grad_offset[:n].add_(step)
                dh[:n] = torch.mm(step.to(weight.dtype), weight, out=product[:n])
                end, carried = end - n, n
        grad_weight = None
        if need_weight:
            assert grads is not None
            previous = _previous(h0, hidden, sizes, 0, len(sizes), 0).to(weight.dtype)
            grad_weight = torch.mm(grads.to(weight.dtype).t(), previous)
        return grads, grad_offset, grad_weight, dh, dc, None


def _factors(gates: Tensor, before: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """What multiplies dh in dc, o (1 − tanh² c), and dc or dh in each pre-activation's gradient: (n, H), (n, 4H)."""
    i, _, o, g = gates.chunk(4, dim=1)
    of_cell = torch.addcmul(squashed, squashed, squashed, value=-1.0).mul_(o).mul_(4.0)
    of_gates = torch.addcmul(gates, gates, gates, value=-1.0)
    of_i, of_f, of_o, of_g = of_gates.chunk(4, dim=1)
    of_i.mul_(torch.mul(g, 2.0).sub_(1.0))
    of_f.mul_(before).mul_(0.5)
    of_o.mul_(torch.mul(squashed, 2.0).sub_(1.0))
    of_g.mul_(i).mul_(2.0)
    return of_cell, of_gates


def _cell_backward(f: Tensor, of_cell: Tensor, of_gates: Tensor, dh: Tensor, dc: Tensor, out: Tensor) -> None:
    """Fill `out` (n, 4H) with the gradient of the pre-activations; turn dc_t into dc_{t-1} in place."""
    n, width = dc.shape
    dc.addcmul_(dh, of_cell)
    by_gate, factor = out.view(n, 4, width), of_gates.view(n, 4, width)
    torch.mul(dc.unsqueeze(1), factor[:, :2], out=by_gate[:, :2])
    torch.mul(dh, factor[:, 2], out=by_gate[:, 2])
    torch.mul(dc, factor[:, 3], out=by_gate[:, 3])
    dc.mul_(f)


def _steps(packed: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """The rows of each time step."""
    return torch.split_with_sizes(packed, list(sizes))


def _previous(first_state: Tensor, packed: Tensor, sizes: Sequence[int], first: int, last: int, start: int) -> Tensor:
    """The states before those of steps `first` … `last` − 1, whose tokens begin at `start`: (tokens, H)."""
    parts, begin = [], start - (sizes[first - 1] if first else 0)
    for t in range(first, last):
        parts.append(packed[begin : begin + sizes[t]] if t else first_state[: sizes[0]])
        begin += sizes[t - 1] if t else 0
    return torch.cat(parts)


def _blocks_backward(sizes: Sequence[int], columns: int) -> Iterator[tuple[int, int, int, int]]:
    """(first step, last step + 1, first token, last token + 1) of runs of steps, the last run first."""
    last, end = len(sizes), sum(sizes)
    while last > 0:
        first, start = last - 1, end - sizes[last - 1]
        while first > 0 and (end - start + sizes[first - 1]) * columns <= BLOCK_ELEMENTS:
            first -= 1
            start -= sizes[first]
        yield first, last, start, end
        last, end = first, start
