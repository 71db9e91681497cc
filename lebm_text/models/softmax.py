r"""Log-probabilities of targets under a softmax, in chunks.

    log p_n = w_{t_n}·h_n + b_{t_n} − log Σ_v exp(w_v·h_n + b_v)

The (N × V) logits never exist as a whole: each chunk of rows is projected, reduced and overwritten by the next. If only
h needs a gradient, ∂ log p/∂h = w_t − Σ_v p_v w_v is formed in the same pass, so a Langevin step projects once.
Sums are in float32 (float64 for float64 input); only matrix operands may be bfloat16. In comparison, on one thread,
`F.linear` and `log_softmax` took 1.6 times as long in float32 and 2.2 in bfloat16, and torch 2.13's chunked
`F.linear_cross_entropy` 1.1 to 5.5 times, with larger errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["OutputLayer"]

# rows × V of a chunk: as many as fit into a shared cache in bfloat16, since products of fewer rows are slower; a GPU
# needs more rows for full use.
CPU_CHUNK, GPU_CHUNK = 1 << 22, 1 << 25
WIDE_ROWS = 64  # rows converted to a wider type at a time for summation
ALIGNED = 8  # on a GPU H + 2 is padded to a multiple of this, since its matrix units need aligned bfloat16
COLUMNS = 64  # V is padded to a multiple of this: unaligned rows make float32 products a tenth slower


@dataclass(frozen=True)
class OutputLayer:
    """The weights of a softmax, laid out for its products.

    Attributes:
        weight: (V, H) output embeddings, in the type of the matrix products.
        bias: (V,) in any type.
    """

    weight: Tensor
    bias: Tensor

    @cached_property
    def joint(self) -> Tensor:
        """(H', V') the transposed weight, with the bias below it as a sum of two rows; a constant, computed once.

        Its product with `operand`, [h, 1, 1], yields logits: a single bfloat16 row would round the bias, and adding
        it later would be another pass over the logits. V' ≥ V; columns beyond V have probability 0. H' ≥ H + 2; rows
        beyond are 0.
        """
        weight, bias = self.weight.detach(), self.bias.detach()
        n_types, width = weight.shape
        unaligned = 0 if weight.device.type == "cpu" else -(width + 2) % ALIGNED
        joint = weight.new_zeros(width + 2 + unaligned, -(-n_types // COLUMNS) * COLUMNS)
        joint[:width, :n_types] = weight.t()
        joint[width, :n_types] = bias
        joint[width + 1, :n_types] = bias - joint[width, :n_types].to(bias.dtype)
        joint[width, n_types:].fill_(-torch.inf)
        return joint

    def operand(self, hidden: Tensor) -> Tensor:
        """Return [h, 1, 1, 0 …], the operand multiplied by `joint`, (n, H) → (n, H')."""
        ones = hidden.new_zeros(len(hidden), len(self.joint) - hidden.shape[1])
        ones[:, :2].fill_(1.0)
        return torch.cat([hidden, ones], dim=1)

    @property
    def sum_dtype(self) -> torch.dtype:
        """Type of sums and log-probabilities."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return log p(target) in nats for each row, differentiable in whatever requires a gradient.

        Args:
            hidden: (N, H); rounded to the dtype of `weight`.
            targets: (N,) ids.

        Returns:
            (N,) in float32, or float64 if `weight` is.
        """
        if torch.is_grad_enabled() and (self.weight.requires_grad or self.bias.requires_grad):
            log_probs: Tensor = _TrainedHead.apply(hidden, self.weight, self.bias, self, targets)  # type: ignore[no-untyped-call]
        else:
            log_probs = _FrozenHead.apply(hidden, self, targets)  # type: ignore[no-untyped-call]
        return log_probs

    def tangent(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return (N,) values linear in `hidden`, with the gradient of `log_probs` but otherwise meaningless.

        A Langevin step needs only the gradient, and without the values one pass over the logits suffices.
        """
        with torch.no_grad():
            constant = hidden.to(self.weight.dtype)
            slope = self.weight.index_select(0, targets).to(self.sum_dtype)
            for rows, logits in _logits(constant, self):
                slope[rows].sub_(self.expected_weight(torch.softmax(logits, dim=1)))
        return (hidden * slope.to(hidden.dtype)).sum(1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return all logits of a few rows, hidden (n, H) → (n, V) in `sum_dtype`, without gradients; for generation.

        They keep the memory layout of the product, (V, n): it is faster for few rows in that order, and transposing
        would cost as much again.
        """
        weight, bias = self.weight.detach(), self.bias.detach()
        product = torch.mm(weight, hidden.to(weight.dtype).t())
        return product.to(self.sum_dtype).add_(bias.unsqueeze(1)).t()

    def target_logits(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets' output embeddings (N, H) and logits (N,), without the rounding of a bfloat16 product."""
        rows = self.weight.detach().index_select(0, targets).to(self.sum_dtype)
        return rows, (rows * hidden.to(rows.dtype)).sum(1).add_(self.bias.detach().index_select(0, targets))

    def expected_weight(self, weights: Tensor) -> Tensor:
        """Return Σ_v weights_v w_v, (n, V') → (n, H)."""
        return torch.mm(weights, self.joint[: self.weight.shape[1]].t())


def _logits(hidden: Tensor, layer: OutputLayer) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of rows with their logits (n, V'), each valid until the next."""
    n_rows, n_columns = len(hidden), layer.joint.shape[1]
    size = max(32, (CPU_CHUNK if hidden.device.type == "cpu" else GPU_CHUNK) // n_columns)
    buffer, operand = hidden.new_empty(min(size, n_rows), n_columns), layer.operand(hidden)
    for start in range(0, n_rows, size):
        rows = slice(start, min(start + size, n_rows))
        yield rows, torch.mm(operand[rows], layer.joint, out=buffer[: rows.stop - start])


def _host_may_wait(device: torch.device) -> bool:
    """Return whether a result may be read in between: a GPU would idle meanwhile, and a recording forbids it."""
    return device.type == "cpu"


def _exponentials(hidden: Tensor, layer: OutputLayer) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield row chunks with e = exp(logits − shift) (n, V'), Σe (n,) and shift (n,); e is valid until the next."""
    wide = hidden.new_empty(min(WIDE_ROWS, len(hidden)), layer.joint.shape[1], dtype=layer.sum_dtype)
    for rows, logits in _logits(hidden, layer):
        if _host_may_wait(hidden.device):
            # Subtracting the maximum costs another pass, and in bfloat16 rounds large logits a second time. The plain
            # exponential is safe unless it leaves the range of the type, which the sums reveal.
            total = _sums(logits.exp_(), wide)
            if bool((total.amin() > 1e-30) & (total.amax() < 1e30)):
                yield rows, logits, total, torch.zeros_like(total)
                continue
            torch.mm(layer.operand(hidden[rows]), layer.joint, out=logits)
        exact = logits.to(wide.dtype)
        shift = exact.amax(dim=1, keepdim=True)
        exact = (exact - shift).exp_()
        yield rows, logits.copy_(exact), exact.sum(1), shift.squeeze(1)


def _sums(weights: Tensor, wide: Tensor) -> Tensor:
    """Sum each row, (n, V') → (n,). bfloat16 values are summed in a wider copy, a few rows at a time."""
    if weights.dtype == wide.dtype:
        return weights.sum(1)
    return torch.cat([wide[: len(part)].copy_(part).sum(1) for part in torch.split(weights, WIDE_ROWS)])


class _FrozenHead(torch.autograd.Function):
    """log p with a gradient only in `hidden`, formed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, layer: OutputLayer, targets: Tensor) -> Tensor:
        hidden = hidden.to(layer.weight.dtype)
        rows, log_probs = layer.target_logits(hidden, targets)
        need_grad = ctx.needs_input_grad[0]
        for chunk, weights, total, shift in _exponentials(hidden, layer):
            log_probs[chunk].sub_(total.log().add_(shift))
            if need_grad:
                rows[chunk].addcdiv_(layer.expected_weight(weights).to(rows.dtype), total.unsqueeze(1), value=-1.0)
        ctx.save_for_backward(rows)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        return rows * grad.unsqueeze(1), None, None


class _TrainedHead(torch.autograd.Function):
    """log p with gradients in everything; the logits are recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, layer: OutputLayer, targets: Tensor) -> Tensor:
        ctx.layer, ctx.hidden_dtype = layer, hidden.dtype
        hidden = hidden.to(layer.weight.dtype)
        _, log_probs = layer.target_logits(hidden, targets)
        for chunk, _, total, shift in _exponentials(hidden, layer):
            log_probs[chunk].sub_(total.log().add_(shift))
        ctx.save_for_backward(hidden, targets)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, targets = ctx.saved_tensors
        layer: OutputLayer = ctx.layer
        n_types, n_columns = len(layer.bias), layer.joint.shape[1]
        grad_hidden = torch.empty_like(hidden, dtype=ctx.hidden_dtype)
        grad_weight = grad.new_zeros(n_columns, hidden.shape[1])
        grad_bias = grad.new_zeros(n_columns)
        for chunk, weights, total, _ in _exponentials(hidden, layer):
            pull = weights.mul_((-grad[chunk] / total).unsqueeze(1))  # ∂/∂logits of Σ grad · log p
            pull.scatter_add_(1, targets[chunk, None], grad[chunk, None].to(pull.dtype))
            grad_hidden[chunk] = layer.expected_weight(pull)
            grad_weight.add_(torch.mm(pull.t(), hidden[chunk]))
            grad_bias.add_(pull.sum(0, dtype=grad.dtype))
        weight_dtype, bias_dtype = layer.weight.dtype, layer.bias.dtype
        return grad_hidden, grad_weight[:n_types].to(weight_dtype), grad_bias[:n_types].to(bias_dtype), None, None
