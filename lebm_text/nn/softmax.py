r"""Log-probabilities of targets under a softmax, in chunks.

    log p_n = w_{t_n}·h_n + b_{t_n} − log Σ_v exp(w_v·h_n + b_v)

The (N × V) logits never exist: each chunk of rows is projected, reduced and dropped. Where only h asks for
a gradient, ∂ log p/∂h = w_t − Σ_v p_v w_v is formed in the same pass, so a Langevin step projects once.
Sums are in float32 (float64 for float64 input); only matrix operands may be bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["target_log_probs"]

# rows × V of a chunk: about 4 MB in bfloat16, so that it stays in a shared cache; with fewer rows its matrix
# products are so flat that they slow down.
CHUNK_ELEMENTS = 1 << 21


def target_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """log p(target) in nats for each row.

    Args:
        hidden: (N, H), in the dtype of `weight`.
        weight: (V, H) output embeddings.
        bias: (V,), in the dtype of `weight`.
        targets: (N,) ids.

    Returns:
        (N,) in float32, or float64 if `weight` is.
    """
    differentiable = weight.requires_grad or bias.requires_grad
    function = _TrainedHead if differentiable and torch.is_grad_enabled() else _FrozenHead
    log_probs: Tensor = function.apply(hidden, weight, bias, targets)  # type: ignore[no-untyped-call]
    return log_probs


def _chunks(n_rows: int, n_columns: int) -> list[slice]:
    size = max(32, CHUNK_ELEMENTS // n_columns)
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _target_logits(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' output embeddings (N, H) and logits (N,), free of the rounding of a bfloat16 product."""
    wide = _sum_dtype(weight.dtype)
    rows = weight.index_select(0, targets).to(wide)
    logits = (rows * hidden.to(wide)).sum(1).add_(bias.index_select(0, targets))
    return rows, logits


def _exponentials(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(e, Σe, shift) with e = exp(logits − shift), for one chunk of rows: (n, V), (n,), (n,)."""
    wide = _sum_dtype(weight.dtype)
    if weight.dtype == torch.bfloat16:
        # Subtracting the maximum would round large logits a second time, at 1/32 near 10. bfloat16 has float32's
        # range, so the plain exponential is sound unless it leaves that range, which the sums show.
        weights = F.linear(hidden, weight, bias).exp_()
        total = weights.sum(1, dtype=wide)
        if bool((total.amin() > 1e-30) & (total.amax() < 1e30)):
            return weights, total, torch.zeros_like(total)
    logits = F.linear(hidden, weight, bias)
    shift = logits.amax(dim=1, keepdim=True)
    weights = logits.sub_(shift).exp_()
    return weights, weights.sum(1, dtype=wide), shift.squeeze(1).to(wide)


class _FrozenHead(torch.autograd.Function):
    """Gradient in `hidden` alone, formed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows, log_probs = _target_logits(hidden, weight, bias, targets)
        need_grad = ctx.needs_input_grad[0]
        for chunk in _chunks(hidden.shape[0], weight.shape[0]):
            weights, total, shift = _exponentials(hidden[chunk], weight, bias)
            log_probs[chunk].sub_(total.log().add_(shift))
            if need_grad:
                rows[chunk].sub_(torch.mm(weights, weight).to(rows.dtype).div_(total.unsqueeze(1)))
        ctx.save_for_backward(rows)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        return rows * grad.unsqueeze(1), None, None, None


class _TrainedHead(torch.autograd.Function):
    """Gradients in everything; the logits are formed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        _, log_probs = _target_logits(hidden, weight, bias, targets)
        for chunk in _chunks(hidden.shape[0], weight.shape[0]):
            _, total, shift = _exponentials(hidden[chunk], weight, bias)
            log_probs[chunk].sub_(total.log_().add_(shift))
        ctx.save_for_backward(hidden, weight, bias, targets)
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, dtype=grad.dtype, device=weight.device)
        grad_bias = torch.zeros(bias.shape, dtype=grad.dtype, device=bias.device)
        for chunk in _chunks(hidden.shape[0], weight.shape[0]):
            weights, total, _ = _exponentials(hidden[chunk], weight, bias)
            pull = weights.mul_((-grad[chunk] / total).unsqueeze(1))  # ∂/∂logits of Σ grad · log p
            pull.scatter_add_(1, targets[chunk, None], grad[chunk, None].to(pull.dtype))
            grad_hidden[chunk] = torch.mm(pull, weight)
            grad_weight.add_(torch.mm(pull.t(), hidden[chunk]))
            grad_bias.add_(pull.sum(0, dtype=grad.dtype))
        return grad_hidden, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype), None
