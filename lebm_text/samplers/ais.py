r"""Annealed importance sampling: log ∫ q(z) exp(Σ_j t_j(z)) dz for a normalised base q and any tilts t_j.

    π_β(z) ∝ q(z) exp(β t(z)),   t = Σ_j t_j,   0 = β_0 < … < β_T = 1
    forward:  z_0 ~ q,  z_k from z_{k−1} by a kernel that leaves π_{β_k} invariant;  w = Σ_k (β_k − β_{k−1}) t(z_{k−1})
    reverse:  z_T ~ π_1,  z_{k−1} from z_k by the same kernel;  the same sum
    E_forward[exp w] = ∫ q exp t,   E_reverse[exp −w] = 1 / ∫ q exp t

So log mean exp w is a stochastic lower bound, and −log mean exp −w of chains started from *exact* samples of π_1 is a
stochastic upper bound (Neal, 2001; Grosse et al., 2015, "bidirectional Monte Carlo"; Wu et al., 2017, for decoders).
With q = p0 and t = f the integral is Z(α); with t = f + log p(x|·) it is A(x), and log p(x) = log A(x) − log Z(α).

The terms of a path from q are log q, normalised, then the t_j. Shapes: C chains for each of B targets; z is (C, B, D),
and terms map it to (C, B) nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.random import Rng

from .hmc import State, Terms, adapted, evaluate, hmc
from .importance import LogMean, log_mean_exp

__all__ = ["Annealed", "Schedule", "anneal", "lower_bound", "sigmoid_betas", "tune", "upper_bound"]

WARM_UP = 30  # proposals on the base density for finding the first step size
STEEPNESS = 4.0


@dataclass(frozen=True)
class Schedule:
    """An annealing schedule, fixed before the chains of the estimate are run.

    Attributes:
        betas: β_0 … β_T.
        step_sizes: (T, B), of the kernels at β_1 … β_T.
        n_leapfrog: leapfrog steps per proposal; 1 is MALA.
    """

    betas: tuple[float, ...]
    step_sizes: Tensor
    n_leapfrog: int = 1


class Annealed(NamedTuple):
    """log weights w (C, B) in float64, final states, and the mean acceptance probability per target (B,)."""

    log_weights: Tensor
    state: State
    acceptance: Tensor


def sigmoid_betas(n_steps: int) -> tuple[float, ...]:
    """Return β_0 = 0 … β_T = 1 along a logistic curve, dense at both ends (Grosse et al., 2015)."""
    curve = torch.linspace(-STEEPNESS, STEEPNESS, n_steps + 1, dtype=torch.float64).sigmoid()
    scaled = (curve - curve[0]) / (curve[-1] - curve[0])
    return (0.0, *scaled[1:-1].tolist(), 1.0)


def tune(
    terms: Terms, z: Tensor, *, n_steps: int, n_leapfrog: int = 1, rng: Rng, n_pilot: int | None = None
) -> Schedule:
    """Find step sizes in a pilot run, whose chains are discarded.

    Args:
        terms: of the path.
        z: (C, B, D), samples of the base.
        n_steps: T of the schedule.
        n_leapfrog: leapfrog steps per proposal; 1 is MALA.
        rng: draws the noise.
        n_pilot: steps of the pilot run, which covers the same β faster; None: a quarter of T, at least 10.
    """
    n_pilot = max(n_steps // 4, 10) if n_pilot is None else n_pilot
    state = evaluate(terms, z)
    size = torch.full_like(state.values[0, 0], 1.0)
    betas, sizes = sigmoid_betas(n_pilot), []
    for beta in [0.0] * WARM_UP + list(betas[1:]):
        weights = _weights(terms, beta)
        state, acceptance = hmc(terms, weights, state, step_size=size, n_steps=1, n_leapfrog=n_leapfrog, rng=rng)
        size = adapted(size, acceptance)
        sizes.append(size)
    which = torch.arange(n_steps) * n_pilot // n_steps
    return Schedule(sigmoid_betas(n_steps), torch.stack(sizes[WARM_UP:])[which.to(z.device)], n_leapfrog)


def anneal(
    terms: Terms,
    z: Tensor,
    schedule: Schedule,
    *,
    rng: Rng,
    reverse: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Annealed:
    """Run C chains for each of B targets through the schedule.

    Args:
        terms: of the path.
        z: (C, B, D), samples of the base; with `reverse`, of the target.
        schedule: as `tune` returns it.
        rng: draws the noise.
        reverse: run from the target to the base.
        on_step: called after each of the T kernels.

    Raises:
        InputError: the log density is not finite at the initial states.
    """
    state = evaluate(terms, z)
    if not bool(state.values.isfinite().all()):
        raise InputError("the log density is not finite where the chains start, as after a training that diverged")
    log_weights = torch.zeros(state.values.shape[1:], dtype=torch.float64, device=z.device)
    acceptance = torch.zeros_like(state.values[0, 0])
    steps = range(1, len(schedule.betas))
    for k in reversed(steps) if reverse else steps:
        beta, size, before = schedule.betas[k], schedule.step_sizes[k - 1], state
        state, accepted = hmc(
            terms, _weights(terms, beta), state, step_size=size, n_steps=1, n_leapfrog=schedule.n_leapfrog, rng=rng
        )
        rise = beta - schedule.betas[k - 1]
        log_weights += rise * (state if reverse else before).values[1:].double().sum(0)
        acceptance += accepted
        on_step()
    return Annealed(log_weights, state, acceptance / len(steps))


def lower_bound(forward: Annealed) -> LogMean:
    """Return log mean exp w for each target: in expectation not above log ∫ q exp t."""
    return log_mean_exp(forward.log_weights)


def upper_bound(reverse: Annealed) -> LogMean:
    """Return −log mean exp −w for each target: in expectation not below log ∫ q exp t, if started at draws of it."""
    mean = log_mean_exp(-reverse.log_weights)
    return mean._replace(value=-mean.value)


def _weights(terms: Terms, beta: float) -> tuple[float, ...]:
    return (1.0, *[beta] * (len(terms) - 1))
