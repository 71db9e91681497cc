"""Errors of the fast implementations, against the plain model in float64 with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baseline import PlainGenerator
from benchmarks.sizes import PRECISIONS
from benchmarks.trained import Trained
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import compute_dtype

__all__ = ["decoding_errors", "posterior_errors", "update_errors"]

Errors = dict[str, float | None]

# `nn.LSTM` adds two biases where one is enough; ours has one.
SECOND_BIAS = "lstm.bias_hh_l0"


def posterior_errors(trained: Trained, precision: str) -> Errors:
    """Return errors of log p(x|z) and ∇_z log p(x|z) in a Langevin step, at z where the posterior chain ends.

    Returns:
        `grad_error`: median over sentences of ‖Δ‖/‖g‖; `grad_cosine`: mean over sentences, and minimum;
        `nll_bias`: mean error of −log p(x|z), nats per sentence; `nll_error`: its largest absolute value.
    """
    ours, exact = _both(trained, precision)
    found, wanted, nlls = [], [], []
    for batch, z in trained.work:
        nll, grad = _in_z(ours.likelihood(batch), z)
        exact_nll, exact_grad = _in_z(partial(exact.log_likelihood, batch), z.double())
        found.append(grad.double())
        wanted.append(exact_grad)
        nlls.append(nll.double() - exact_nll)
    g, h = torch.cat(wanted), torch.cat(found)
    cosine = F.cosine_similarity(g, h, dim=1)
    return {
        "grad_error": float(((h - g).norm(dim=1) / g.norm(dim=1)).median()),
        "grad_cosine": float(cosine.mean()),
        "grad_cosine_least": float(cosine.min()),
        **_nll_errors(nlls),
    }


def update_errors(trained: Trained, precision: str) -> Errors:
    """Return errors of the gradient of log p(x|z) in all parameters, without dropout, as one vector per batch.

    The same keys: `grad_error` is the median of batches, `grad_cosine` their mean.
    """
    ours, exact = _both(trained, precision)
    ours.requires_grad_(True)
    errors, cosines, nlls = [], [], []
    for batch, z in trained.work:
        log_likelihood = ours.log_likelihood(batch, z)
        grads = torch.autograd.grad(log_likelihood.sum(), list(ours.parameters()))
        exact_log_likelihood = exact.log_likelihood(batch, z.double())
        free = [p for name, p in exact.named_parameters() if name != SECOND_BIAS]
        g = _flat(torch.autograd.grad(exact_log_likelihood.sum(), free))
        h = _flat([p for name, p in _as_plain(ours, grads).named_parameters() if name != SECOND_BIAS])
        errors.append((h - g).norm() / g.norm())
        cosines.append(F.cosine_similarity(h, g, dim=0))
        nlls.append(exact_log_likelihood.detach() - log_likelihood.detach().double())
    cosine = torch.stack(cosines)
    return {
        "grad_error": float(torch.stack(errors).median()),
        "grad_cosine": float(cosine.mean()),
        "grad_cosine_least": float(cosine.min()),
        **_nll_errors(nlls),
    }


@torch.no_grad()
def decoding_errors(trained: Trained, precision: str) -> Errors:
    """Return errors of −log p(x|z) when real sentences are fed to the decoder step by step, without gradients."""
    ours, exact = _both(trained, precision)
    nlls = []
    for batch, z in trained.work:
        state, tokens = ours.start(z), torch.full((len(z),), ours.bos_id)
        nll = torch.zeros(len(z), dtype=torch.float64)
        for t in range(batch.tokens.shape[1]):
            logits, state = ours.step(tokens, state)
            tokens = batch.tokens[:, t]
            chosen = logits.double().log_softmax(1).gather(1, tokens[:, None])[:, 0]
            nll -= torch.where(t < batch.lengths, chosen, 0.0)
        nlls.append(nll + exact.log_likelihood(batch, z.double()))
    return {"grad_error": None, "grad_cosine": None, "grad_cosine_least": None, **_nll_errors(nlls)}


def _both(trained: Trained, precision: str) -> tuple[LSTMGenerator, PlainGenerator]:
    """Return our model at that precision, and the plain one in float64."""
    ours = copy.deepcopy(trained.model.model.generator)
    assert isinstance(ours, LSTMGenerator)
    ours.compute_dtype = compute_dtype(PRECISIONS[precision])
    exact = PlainGenerator.like(copy.deepcopy(ours).double())
    return ours, exact


def _in_z(log_likelihood: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Return −log p(x|z), (B,), and the gradient of log p(x|z), (B, D)."""
    z = z.detach().requires_grad_()
    values = log_likelihood(z)
    (grad,) = torch.autograd.grad(values.sum(), z)
    return -values.detach(), grad


def _as_plain(generator: LSTMGenerator, values: Iterable[Tensor]) -> PlainGenerator:
    """Return values of the generator's parameters, here gradients, in the plain model's layout and float64."""
    holder = copy.deepcopy(generator).double()
    with torch.no_grad():
        for parameter, value in zip(holder.parameters(), values, strict=True):
            parameter.copy_(value)
    return PlainGenerator.like(holder)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _nll_errors(differences: list[Tensor]) -> Errors:
    d = torch.cat(differences)
    return {"nll_bias": float(d.mean()), "nll_error": float(d.abs().max())}
