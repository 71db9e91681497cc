"""Parts of others, tried out before anything is trained: what is wrong with one is said in a line that names it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.inference.base import Inference
from lebm_text.models.base import Generator, LogDensity, Prior
from lebm_text.plugins import called
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.encoding import pack

__all__ = ["try_out"]

_N = 3  # draws of z


def try_out(
    named: Mapping[str, str], prior: Prior, generator: Generator, infer: Inference, *, vocab_size: int, eos_id: int
) -> None:
    """Ask of the parts that are `named` what training and generation ask of them.

    Args:
        named: part → what messages call it; of prior, generator and inference.
        prior, generator, infer: all, on the CPU.
        vocab_size: V.
        eos_id: that ends the sentences of the trial.

    Raises:
        InputError: one raises an error, gives nan or another shape, is not differentiable in z, or has no parameters
            where there must be some.
    """
    if "prior" in named:
        _try_prior(named["prior"], prior)
    sentences = EncodedCorpus(*pack([[vocab_size - 1, vocab_size - 1], [vocab_size - 1]], eos_id))
    batch = sentences.batch(np.arange(2))
    z = torch.randn(2, generator.latent_dim, generator=_stream())
    if "generator" in named:
        _try_generator(named["generator"], generator, batch, z, vocab_size)
    if "inference" in named:
        _try_inference(named["inference"], infer, batch, prior, generator)


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _try_prior(named: str, prior: Prior) -> None:
    z = torch.randn(_N, prior.latent_dim, generator=_stream())
    _try_density(f"{named}: logdensity", prior.logdensity, z)
    _value(f"{named}: neg_energy", lambda: prior.neg_energy(z), (_N,))
    _value(f"{named}: sample({_N}, rng)", lambda: prior.sample(_N, _stream()), (_N, prior.latent_dim))
    log_z = called(f"{named}: log_z", prior.log_z)
    if log_z is not None and not (
        isinstance(log_z, (int, float)) and not isinstance(log_z, bool) and math.isfinite(log_z)
    ):
        raise InputError(f"{named}: log_z must be a finite number, or None if it is not known, got {log_z!r}")


def _try_generator(named: str, generator: Generator, batch: Any, z: Tensor, vocab_size: int) -> None:
    learned = [each for each in generator.parameters() if each.requires_grad]
    if not learned:
        raise InputError(f"{named} has no parameters that learn")
    _try_density(f"{named}: likelihood(batch)", called(f"{named}: likelihood", lambda: generator.likelihood(batch)), z)
    value = _value(f"{named}: log_likelihood", lambda: generator.log_likelihood(batch, z, rng=_stream()), (2,))
    if not value.requires_grad:
        raise InputError(f"{named}: log_likelihood is not differentiable in the parameters")
    slopes = torch.autograd.grad(value.sum(), learned, allow_unused=True)
    if not all(each is None or each.isfinite().all() for each in slopes):
        raise InputError(f"{named}: the gradient of log_likelihood in the parameters is nan or inf")
    state = called(f"{named}: start", lambda: generator.start(z))
    begin = torch.full((2,), generator.bos_id)
    logits, state = called(f"{named}: step", lambda: generator.step(begin, state))
    _check(f"{named}: the logits of step", logits, (2, vocab_size), nan_alone=True)
    called(f"{named}: join and select of its state", lambda: state.join(state).select(torch.tensor([2, 0])))


def _try_inference(named: str, infer: Inference, batch: Any, prior: Prior, generator: Generator) -> None:
    result = called(named, lambda: infer(batch, prior, generator, rng=_stream()))
    _check(f"{named}: z", getattr(result, "z", None), (2, prior.latent_dim))
    density = called(f"{named}: target", lambda: infer.target(prior, generator.likelihood(batch)))
    _value(f"{named}: target", lambda: density(result.z.detach()), (2,))
    penalty = called(f"{named}: penalty", lambda: infer.penalty(result, prior))
    _check(f"{named}: penalty", torch.as_tensor(penalty).expand(2), (2,))
    called(f"{named}: figures", lambda: dict(infer.figures(result)))


def _try_density(named: str, logdensity: LogDensity, z: Tensor) -> None:
    """A log density of z, which chains need the gradient of: (..., D) → (...)."""
    if not z.shape[1]:
        return
    both = torch.stack([z, -z]).requires_grad_()
    value = _value(named, lambda: logdensity(both), tuple(both.shape[:-1]))
    slope = torch.autograd.grad(value.sum(), both, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        raise InputError(f"{named} is not differentiable in z; chains need its gradient")
    if not slope.isfinite().all():
        raise InputError(f"{named} has a gradient that is nan or inf at z of N(0, I)")


def _value(named: str, call: Callable[[], Any], shape: tuple[int, ...]) -> Tensor:
    return _check(named, called(named, call), shape)


def _check(named: str, value: Any, shape: tuple[int, ...], *, nan_alone: bool = False) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{named} must be a tensor of shape {shape}, got {got}")
    if value.isnan().any() or not (nan_alone or value.isfinite().all()):
        raise InputError(f"{named} is {'nan' if nan_alone else 'nan or inf'} at z of N(0, I)")
    return value
