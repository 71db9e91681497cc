"""Plug-in classes are tried out before training: a mistake becomes one line that names the class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.inference.base import Inference, InferenceResult
from lebm_text.models.base import Generator, LogDensity, Prior, trainable
from lebm_text.models.priors import base_log_prob
from lebm_text.plugins import called
from lebm_text.random import KeyedRng, Rng
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.encoding import pack

__all__ = ["try_out"]

_N = 3  # draws of z
_LONGEST = 1000  # words of the longest sentence tried: attention needs memory for their square
_SHAKE = 0.3  # standard deviation of noise added to parameters: a fresh model is too flat to reveal mistakes
_STEP = 0.1  # length of the steps of z by which changes are seen
_FLAT, _STEEP = 1e-5, 0.05  # slopes: 0 up to rounding in float32, and more than rounding to bfloat16 makes of 0
_TAKEN = frozenset({
    "kind", "step", "epoch", "f_positive", "f_negative", "gap", "norm_positive", "norm_negative", "move_negative",
    "std_positive", "std_negative", "std_ratio", "chain_gap", "prior_n_steps", "learning_rate", "tokens_per_second",
    "eta_seconds", "uniform_ppl", "digest",
})  # fmt: skip
"""Keys that a line of metrics.jsonl has already."""
_TAKEN_PREFIXES = ("nll_", "curvature", "grad_", "valid_")


def try_out(
    named: Mapping[str, str],
    prior: Prior,
    generator: Generator,
    infers: Sequence[Inference],
    *,
    vocab_size: int,
    eos_id: int,
    longest: int,
    encoder: nn.Module | None = None,
) -> None:
    """Check that the `named` parts fulfil what training and generation need.

    Args:
        named: part → its name in messages; of prior, generator and inference.
        prior, generator: all parts, on the CPU.
        infers: the inference at the beginning of the training, and at its end.
        vocab_size: V.
        eos_id: ends the sentences of the trial.
        longest: most words of a sentence in training.
        encoder: the module that the inference trains.

    Raises:
        InputError: a part raises an error, returns nan or a wrong shape, draws noise from elsewhere than `rng`, is not
            differentiable in z or where it is trained, needs gradients to be enabled, contradicts itself, or lacks
            required parameters.
    """
    if "prior" in named:
        _try_prior(named["prior"], prior)
    rows = [[vocab_size - 1, vocab_size - 2], [vocab_size - 1]]
    batch = _batch(rows, eos_id)
    z = torch.randn(2, generator.latent_dim, generator=_stream())
    if "generator" in named:
        _try_generator(named["generator"], generator, batch, z, vocab_size)
        _try_agreement(named["generator"], generator, batch, z, [[*row, eos_id] for row in rows])
        n = min(longest, _LONGEST)
        _try_length(named["generator"], generator, _batch([[vocab_size - 1] * n], eos_id), z[:1], n)
    if "inference" in named:
        losses = [_try_inference(named["inference"], infer, batch, prior, generator) for infer in infers]
        if encoder is not None:
            _try_slopes(f"{named['inference']}: its Encoder: the loss", torch.stack(losses), trainable(encoder))
        # Now that no gradient is needed any more, since this changes parameters for a while.
        _try_order(named["inference"], infers[-1], batch, prior, generator)


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _batch(rows: Sequence[list[int]], eos_id: int) -> Batch:
    return EncodedCorpus(*pack(rows, eos_id)).batch(np.arange(len(rows)))


def _try_prior(named: str, prior: Prior) -> None:
    z = torch.randn(_N, prior.latent_dim, generator=_stream())
    density = _try_density(f"{named}: logdensity", prior.logdensity, z)
    both = torch.stack([z, -z])
    f = _value(f"{named}: neg_energy", lambda: prior.neg_energy(both), (2, _N))
    if not torch.allclose(f.detach().double(), (density - base_log_prob(both)).double(), rtol=0.02, atol=0.05):
        raise InputError(f"{named}: neg_energy(z) must be logdensity(z) - log N(z; 0, I)")
    if learned := trainable(prior):
        _try_slopes(f"{named}: neg_energy", f, learned)
    if not torch.equal(density, density.half().to(density.dtype)):  # else of 16 bits, too coarse for small changes
        _try_energies(named, prior, both)
    for n in (_N, 2):
        for new_rng in _both_kinds(n):
            name = f"{named}: sample({n}, rng){_of(new_rng)}"
            _float32(name, _noise_of_rng(name, partial(prior.sample, n), new_rng), (n, prior.latent_dim))
    log_z = called(f"{named}: log_z", prior.log_z)
    if log_z is not None and not (
        isinstance(log_z, (int, float)) and not isinstance(log_z, bool) and math.isfinite(log_z)
    ):
        raise InputError(f"{named}: log_z must be a finite number, or None if it is not known, got {log_z!r}")


def _try_energies(named: str, prior: Prior, z: Tensor) -> None:
    energies = {
        "neg_energy": prior.neg_energy,
        "logdensity(z) - log N(z; 0, I)": lambda z: prior.logdensity(z) - base_log_prob(z),
    }
    for parameters in (nullcontext(), _shaken(prior)):
        with parameters:
            _try_reach(named, {"logdensity": prior.logdensity}, z)
            _try_reach(named, energies, z)


def _try_generator(named: str, generator: Generator, batch: Any, z: Tensor, vocab_size: int) -> None:
    learned = trainable(generator)
    if not learned:
        raise InputError(f"{named} has no parameters that learn")
    if not isinstance(generator.device, torch.device):
        raise InputError(f"{named}: device must be a torch.device, as parameters have, got {generator.device!r}")
    _try_density(f"{named}: likelihood(batch)", called(f"{named}: likelihood", lambda: generator.likelihood(batch)), z)
    name = f"{named}: log_likelihood"
    value = _noise_of_rng(name, lambda rng: generator.log_likelihood(batch, z, rng=rng), _stream)
    _try_slopes(name, _check(name, value, (2,)), learned)
    _try_reach(named, _likelihoods(generator, batch), torch.stack([z, -z]))
    state = called(f"{named}: start", lambda: generator.start(z))
    begin = torch.full((2,), generator.bos_id)
    logits, state = called(f"{named}: step", lambda: generator.step(begin, state))
    _check(f"{named}: the logits of step", logits, (2, vocab_size), nan_alone=True)


def _likelihoods(generator: Generator, batch: Any) -> dict[str, LogDensity]:
    return {
        "likelihood(batch)": lambda z: generator.likelihood(batch)(z),
        "log_likelihood": lambda z: torch.stack([generator.log_likelihood(batch, each) for each in z]),
    }


@torch.no_grad()
def _try_agreement(named: str, generator: Generator, batch: Any, z: Tensor, rows: Sequence[Sequence[int]]) -> None:
    """Compute log p(x|z) of the closed sentences `rows` in three ways: they must agree, and be below 0."""
    with _shaken(generator):
        values = called(named, lambda: generator.log_likelihood(batch, z))
        if not values.isfinite().all():
            return  # with parameters that training would never reach
        if (values > 1e-3).any():
            raise InputError(f"{named}: log_likelihood must not be above 0, got {values.max():.3g}")
        fast = called(named, lambda: generator.likelihood(batch)(z))
        _same(f"{named}: likelihood(batch)(z) and log_likelihood(batch, z) differ", fast, values)
        _try_reach(named, _likelihoods(generator, batch), torch.stack([z, -z]))
        for row in range(2):
            only, at = torch.tensor([row]), z[row : row + 1]
            alone = called(named, partial(generator.log_likelihood, batch.select(only), at))
            _same(f"{named}: log_likelihood of a sentence depends on its neighbours in the batch", alone, values[only])
        stepped = called(f"{named}: step", lambda: _word_by_word(generator, z, rows))
        if stepped is not None:
            _same(f"{named}: what step gives, word after word, is not log_likelihood", stepped, values)
        _try_state(f"{named}: join and select of its state", generator, z, rows[0][0])


def _word_by_word(generator: Generator, z: Tensor, rows: Sequence[Sequence[int]]) -> Tensor | None:
    """Return log p(x|z) by `step`; None if it forbids ids, and so has another distribution."""
    state, total = generator.start(z), torch.zeros(len(rows))
    tokens = [generator.bos_id] * len(rows)
    for place in range(max(map(len, rows))):
        logits, state = generator.step(torch.tensor(tokens), state)
        if logits.isneginf().any():
            return None
        scores = logits.float().log_softmax(-1)
        for row, words in enumerate(rows):
            if place < len(words):
                tokens[row] = words[place]
                total[row] += scores[row, words[place]]
    return total


def _try_state(named: str, generator: Generator, z: Tensor, word: int) -> None:
    """Check that sentences of two lengths go on as before when joined, put into another order, and one repeated."""
    both, order = torch.arange(2), torch.tensor([3, 0, 0, 2])

    def step(state: Any, n: int = 2) -> Any:
        return generator.step(torch.full((n,), word), state)

    def logits() -> tuple[Tensor, Tensor]:
        fresh, longer = step(generator.start(-z))[1], step(step(generator.start(z))[1])[1]
        mixed = longer.select(both).join(fresh.select(both)).select(order)
        return step(mixed, 4)[0], torch.cat([step(longer)[0], step(fresh)[0]])[order]

    found, wanted = called(named, logits)
    if found.shape != wanted.shape or not torch.allclose(found.float(), wanted.float(), rtol=0.02, atol=0.01):
        raise InputError(f"{named} change what step gives: each row must go on as its sentence did")


@torch.no_grad()
def _try_length(named: str, generator: Generator, batch: Batch, z: Tensor, n: int) -> None:
    of = f"of a sentence of {n} words (the constructor may take text.max_length as longest)"
    _value(f"{named}: log_likelihood {of}", lambda: generator.log_likelihood(batch, z), (1,))


def _same(complaint: str, found: Tensor, wanted: Tensor) -> None:
    """Raise InputError unless they are equal up to 16-bit rounding."""
    if not torch.allclose(found.float(), wanted.float(), rtol=0.02, atol=0.05):
        raise InputError(f"{complaint}: {found.tolist()} and {wanted.tolist()}")


@contextmanager
def _shaken(part: Prior | Generator) -> Iterator[None]:
    """Add noise to the trained parameters inside."""
    parameters, rng = [each.detach() for each in trainable(part)], _stream()
    before = [each.clone() for each in parameters]
    try:
        for each in parameters:
            each.add_(_SHAKE * torch.randn(each.shape, generator=rng).to(each.dtype))
        yield
    finally:
        for each, former in zip(parameters, before, strict=True):
            each.copy_(former)


def _try_inference(named: str, infer: Inference, batch: Any, prior: Prior, generator: Generator) -> Tensor:
    """Return the loss of the generator, which an encoder learns by, too: (2,)."""
    for new_rng in _both_kinds(2):
        name = f"{named}{_of(new_rng)}"
        result = _noise_of_rng(name, lambda rng: infer(batch, prior, generator, rng=rng), new_rng)
        if not isinstance(result, InferenceResult):
            raise InputError(f"{name} must return an InferenceResult, got {type(result).__name__}")
        z = _float32(f"{name}: z", result.z, (2, prior.latent_dim))
    density = called(f"{named}: target", lambda: infer.target(prior, generator.likelihood(batch)))
    _value(f"{named}: target", lambda: density(z.detach()), (2,))
    penalty = called(f"{named}: penalty", lambda: torch.as_tensor(infer.penalty(result, prior)).expand(2))
    _check(f"{named}: penalty", penalty, (2,))
    _try_figures(named, called(f"{named}: figures", lambda: dict(infer.figures(result))))
    loss: Tensor = penalty - called(named, lambda: generator.log_likelihood(batch, z))
    return loss


@torch.no_grad()
def _try_order(named: str, infer: Inference, batch: Any, prior: Prior, generator: Generator) -> None:
    """Raise InputError if sentences of a batch have one another's z."""

    def infer_z(*rows: int) -> Tensor:
        result = infer(batch.select(torch.tensor(rows)), prior, generator, rng=KeyedRng(0, rows))
        return result.z.reshape(len(rows), prior.latent_dim)

    with _shaken(generator):
        both = called(named, partial(infer_z, 0, 1))
        alone = torch.cat([called(f"{named}: a single sentence", partial(infer_z, row)) for row in range(2)])
    own, other = ((alone - each).norm(dim=-1) for each in (both, both.flip(0)))
    if (own > 2 * other + 1e-3).all():  # more than rounding
        raise InputError(f"{named} gives a sentence the z of another one of the batch")


def _try_figures(named: str, figures: Mapping[Any, Any]) -> None:
    for name, value in figures.items():
        is_taken = isinstance(name, str) and (name in _TAKEN or name.startswith(_TAKEN_PREFIXES))
        if is_taken or not isinstance(name, str):
            what = "is a name that metrics.jsonl has already" if is_taken else "must be text"
            raise InputError(f"{named}: figures: {name!r} {what}")
        number = called(f"{named}: figures: {name}", partial(torch.as_tensor, value))
        if number.ndim or not number.isfinite():
            got = f"shape {tuple(number.shape)}" if number.ndim else f"{number.item()}"
            raise InputError(f"{named}: figures: {name} must be one finite number, got {got}")


def _try_density(named: str, logdensity: LogDensity, z: Tensor) -> Tensor:
    """Return the values of a log density, which must be differentiable, at z and -z: (2, ...), detached."""
    both = torch.stack([z, -z]).requires_grad_(bool(z.shape[1]))
    value = _value(named, lambda: logdensity(both), tuple(both.shape[:-1]))
    if not z.shape[1]:
        return value.detach()
    slope = torch.autograd.grad(value.sum(), both, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        raise InputError(f"{named} is not differentiable in z; chains need its gradient")
    if not slope.isfinite().all():
        raise InputError(f"{named} has a gradient that is nan or inf at z of N(0, I)")
    return value.detach()


def _try_reach(named: str, equal: Mapping[str, LogDensity], z: Tensor) -> None:
    """Raise InputError if a gradient misses numbers of z that the value depends on, as where z is detached.

    The functions of z (2, N, D) in `equal` are equal up to a constant. A gradient that is wrong but not 0 passes.
    """
    try:
        slopes = {name: _slope(f, z) for name, f in equal.items()}
        steepest = torch.stack([*slopes.values()]).abs().amax(0)
        for name, f in equal.items():
            flat = (slopes[name].abs() <= _FLAT).flatten(0, -2).all(0)
            if flat.any() and (_mostly(steepest[..., flat].amax(-1) > _STEEP) or _moves(f, z, flat)):
                break
        else:
            return
    except Exception:
        return  # with parameters that training would never reach
    raise InputError(
        f"{named}: {name} depends on z, but its gradient is 0 or missing in {int(flat.sum())} of {len(flat)} "
        "numbers of z; chains and encoders need all of it: compute it from z itself, not from z.detach()"
    )


@torch.enable_grad()
def _slope(f: LogDensity, z: Tensor) -> Tensor:
    at = z.detach().clone().requires_grad_()
    value = f(at)
    slope = torch.autograd.grad(value.sum(), at, allow_unused=True)[0] if value.requires_grad else None
    return torch.zeros_like(z) if slope is None else slope


def _moves(f: LogDensity, z: Tensor, which: Tensor) -> bool:
    """Return whether f changes evenly when `which` numbers of z do: not by rounding, noise, a kink or a jump."""
    signs = torch.randint(2, which.shape, generator=_stream()) * 2 - 1
    step = _STEP * which * signs / which.sum().sqrt()
    values = torch.stack([f(z + k * step).detach() for k in range(-2, 3)])
    changes = values.diff(dim=0)
    mean = changes.mean(0)
    is_even = ((changes - mean).abs() <= 0.5 * mean.abs()).all(0)
    return _mostly(is_even & (mean.abs() > 1e-4 + 1e-5 * values.abs().amax(0)))


def _mostly(at: Tensor) -> bool:
    return bool(at.double().mean() >= 0.5)


def _try_slopes(named: str, value: Tensor, learned: Sequence[nn.Parameter]) -> None:
    slopes = torch.autograd.grad(value.sum(), learned, allow_unused=True) if value.requires_grad else ()
    if all(each is None for each in slopes):
        raise InputError(f"{named} is not differentiable in the parameters")
    if not all(each is None or each.isfinite().all() for each in slopes):
        raise InputError(f"{named}: the gradient in the parameters is nan or inf")


def _both_kinds(n: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return makers of noise sources as in training, one stream for all, and as in generation, one for each item."""
    return _stream, partial(KeyedRng, 0, range(n))


def _of(new_rng: Callable[[], Rng]) -> str:
    """Return an addition to messages where only generation would fail."""
    return "" if new_rng is _stream else " with a stream for each sentence (lebm_text.random.draw_normal)"


def _noise_of_rng(named: str, call: Callable[[Any], Any], new_rng: Callable[[], Any]) -> Any:
    """Return the result of a call, which a second one, without gradients as in validation, must repeat."""
    before = torch.random.get_rng_state()
    value = called(named, lambda: call(new_rng()))
    if not torch.equal(before, torch.random.get_rng_state()):
        raise InputError(f"{named} draws from PyTorch's global stream; draw from rng, or no run can be repeated")
    name = f"{named} under torch.no_grad(), as in validation (compute gradients in `with torch.enable_grad():`)"
    with torch.no_grad():
        again = called(name, lambda: call(new_rng()))
    drawn, redrawn = (getattr(each, "z", each) for each in (value, again))
    if isinstance(drawn, Tensor) and not _repeats(drawn, redrawn):
        raise InputError(f"{named} differs with the same rng; draw all noise from it, or no run can be repeated")
    return value


def _repeats(first: Tensor, second: Any) -> bool:
    is_alike = isinstance(second, Tensor) and (first.shape, first.dtype) == (second.shape, second.dtype)
    return is_alike and torch.allclose(first, second, rtol=1e-3, atol=1e-3, equal_nan=True)


def _value(named: str, call: Callable[[], Any], shape: tuple[int, ...]) -> Tensor:
    return _check(named, called(named, call), shape)


def _float32(named: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    if _check(named, value, shape).dtype != torch.float32:
        raise InputError(f"{named} must be float32, got {str(value.dtype).removeprefix('torch.')}")
    return value  # type: ignore[no-any-return]


def _check(named: str, value: Any, shape: tuple[int, ...], *, nan_alone: bool = False) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{named} must be a tensor of shape {shape}, got {got}")
    if value.isnan().any() or not (nan_alone or value.isfinite().all()):
        raise InputError(f"{named} is {'nan' if nan_alone else 'nan or inf'} at z of N(0, I)")
    return value
