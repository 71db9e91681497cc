r"""Hamiltonian Monte Carlo with accept/reject; one leapfrog step is MALA.

    ρ ~ N(0, I);   L times:  ρ ← ρ + ½ s ∇log π(z),  z ← z + s ρ,  ρ ← ρ + ½ s ∇log π(z)
    accepted with probability min(1, π(z′) exp(−½|ρ′|²) / (π(z) exp(−½|ρ|²)))

(Duane et al., 1987; Neal, 2011; with L = 1 it is MALA, Roberts and Tweedie, 1996.) Unlike `langevin` it leaves π
invariant at any step size. log π is a weighted sum Σ_j w_j t_j(z): a state keeps the values and gradients of its
terms, so that a chain whose weights change (annealing) evaluates nothing twice.

Shapes: C chains for each of B targets; z is (C, B, D), a term maps it to (C, B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lebm_text import cuda_graphs
from lebm_text.random import Rng, draw_normal, draw_uniform
from lebm_text.transfer import send

__all__ = ["State", "Terms", "adapted", "evaluate", "hmc", "hmc_step", "normal_noise", "recorded", "uniform_noise"]

Terms = Sequence[Callable[[Tensor], Tensor]]

# Acceptance near the optimum for MALA (0.574, Roberts and Rosenthal, 1998) and for HMC (0.651, Beskos, 2013).
TARGET = 0.6
GAIN = 0.2  # of the logarithm of a step size, per unit of acceptance missed


class State(NamedTuple):
    """z (C, B, D) with the values (J, C, B) and gradients (J, C, B, D) of the terms at z."""

    z: Tensor
    values: Tensor
    grads: Tensor

    def logdensity(self, weights: Sequence[float]) -> Tensor:
        """Return Σ_j w_j t_j(z), (C, B)."""
        return _weighted(weights, self.values)

    def gradient(self, weights: Sequence[float]) -> Tensor:
        """Return the gradient of `logdensity`, (C, B, D)."""
        return _weighted(weights, self.grads)


def _weighted(weights: Sequence[float], of_terms: Tensor) -> Tensor:
    """Return Σ_j w_j t_j for terms of shape (J, …)."""
    total: Tensor = torch.tensordot(send(torch.tensor(weights, dtype=of_terms.dtype), of_terms.device), of_terms, 1)
    return total


class _Recorded(tuple[Callable[[Tensor], Tensor], ...]):
    """Terms with one function for the values and gradients of all, (C, B, D) → (J, C, B, 1 + D)."""

    together: Callable[[Tensor], Tensor]


def recorded(terms: Terms, like: Tensor) -> Terms:
    """Return the terms, on CUDA recorded for z of the shape and type of `like`, with their other inputs as of now."""
    if not cuda_graphs.applies(like.device):
        return terms

    def together(z: Tensor) -> Tensor:
        state = _evaluate(terms, z)
        return torch.cat([state.values.unsqueeze(-1), state.grads], dim=-1)

    made = _Recorded(terms)
    made.together = cuda_graphs.captured(together, like)
    return made


def evaluate(terms: Terms, z: Tensor) -> State:
    """Evaluate the terms at z, each with its gradient in z alone: no parameter gets a `.grad`."""
    if not isinstance(terms, _Recorded):
        return _evaluate(terms, z)
    both = terms.together(z.detach())
    return State(z.detach(), both[..., 0], both[..., 1:])


def _evaluate(terms: Terms, z: Tensor) -> State:
    values, grads = [], []
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        for term in terms:
            value = term(z)
            # A Gaussian prior's f is 0 without being a function of z.
            grads.append(torch.autograd.grad(value.sum(), z)[0] if value.requires_grad else torch.zeros_like(z))
            values.append(value.detach())
    return State(z.detach(), torch.stack(values), torch.stack(grads))


def hmc_step(
    terms: Terms,
    weights: Sequence[float],
    state: State,
    momentum: Tensor,
    uniform: Tensor,
    *,
    step_size: float | Tensor,
    n_leapfrog: int = 1,
) -> tuple[State, Tensor]:
    """Make one proposal with the given noise and accept or reject it.

    Args:
        terms, weights: log π = Σ_j w_j t_j, in nats; need not be normalised.
        state: current state of the chains.
        step_size: s, or (B,), one per target.
        n_leapfrog: L; 1 is MALA.
        momentum: (C, B, D) N(0, 1) noise.
        uniform: (C, B) numbers in [0, 1).

    Returns:
        The new state, and the acceptance probability (C, B). A proposal whose density is nan is rejected.
    """
    size = step_size.unsqueeze(-1) if isinstance(step_size, Tensor) else step_size
    new, rho = state, momentum
    for _ in range(n_leapfrog):
        rho = rho + 0.5 * size * new.gradient(weights)
        new = evaluate(terms, new.z + size * rho)
        rho = rho + 0.5 * size * new.gradient(weights)
    kinetic = 0.5 * (momentum.square().sum(-1) - rho.square().sum(-1))
    probability = (new.logdensity(weights) - state.logdensity(weights) + kinetic).exp().clamp(max=1.0).nan_to_num(0.0)
    accepted = uniform < probability
    row = accepted.unsqueeze(-1)
    kept = State(
        torch.where(row, new.z, state.z),
        torch.where(accepted, new.values, state.values),
        torch.where(row, new.grads, state.grads),
    )
    return kept, probability


def hmc(
    terms: Terms,
    weights: Sequence[float],
    state: State,
    *,
    step_size: float | Tensor,
    n_steps: int,
    n_leapfrog: int = 1,
    rng: Rng,
) -> tuple[State, Tensor]:
    """Run `n_steps` proposals from a state.

    Args:
        terms, weights: log π = Σ_j w_j t_j, in nats; need not be normalised.
        state: as `evaluate` returns it.
        step_size: s, or (B,), one per target.
        n_steps: number of proposals.
        n_leapfrog: L; 1 is MALA.
        rng: draws the noise; a KeyedRng has the B targets as its items.

    Returns:
        The final state, and the mean acceptance probability of the chains of each target, (B,).

    Raises:
        ValueError: a step size that is not positive, fewer than 1 leapfrog step, a negative n_steps.
    """
    # Step sizes in a tensor are not checked: on a GPU every call would wait for them.
    if n_steps < 0 or n_leapfrog < 1 or not (isinstance(step_size, Tensor) or step_size > 0):
        raise ValueError(
            f"n_steps must be >= 0, n_leapfrog >= 1 and step_size > 0, got {n_steps}, {n_leapfrog} and {step_size}"
        )
    total = state.values.new_zeros(state.z.shape[1])
    for _ in range(n_steps):
        momentum, uniform = normal_noise(rng, state.z), uniform_noise(rng, state.z)
        state, probability = hmc_step(
            terms, weights, state, momentum, uniform, step_size=step_size, n_leapfrog=n_leapfrog
        )
        total += probability.mean(0)
    return state, total / max(n_steps, 1)


def adapted(step_size: Tensor, acceptance: Tensor) -> Tensor:
    """Return step sizes (B,) moved towards a mean acceptance of `TARGET`, given the observed one, (B,).

    A chain that keeps adapting has no fixed target: adapt on a pilot run, then keep the step sizes.
    """
    return step_size * (GAIN * (acceptance - TARGET)).exp()


def normal_noise(rng: Rng, like: Tensor) -> Tensor:
    """Return N(0, 1) noise of the shape of z (C, B, D), drawn target by target."""
    chains, targets, dims = like.shape
    return draw_normal(rng, (targets, chains, dims), like.device).to(like.dtype).transpose(0, 1)


def uniform_noise(rng: Rng, like: Tensor) -> Tensor:
    """Return uniform numbers (C, B) for z (C, B, D), drawn target by target."""
    chains, targets, _ = like.shape
    return draw_uniform(rng, (targets, chains), like.device).to(like.dtype).transpose(0, 1)
