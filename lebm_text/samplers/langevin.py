r"""Unadjusted Langevin dynamics on any log density.

    z ← z + ½ s² ∇_z log p(z) + s n ε,   ε ~ N(0, I)

(Pang et al., NeurIPS 2020, eq. 8 with n = 1.) `noise_scale` n is a standard deviation: the chain samples
p^(1/n²) up to its discretisation error, so only n = 1 targets p, and n = 0 is gradient ascent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lebm_text.random import Rng, draw_normal

__all__ = ["gradient", "langevin", "langevin_step", "step_sizes"]


def langevin_step(z: Tensor, grad: Tensor, noise: Tensor, *, step_size: float, noise_scale: float = 1.0) -> Tensor:
    """Return z (..., D) after one update.

    Args:
        z: (..., D).
        grad: (..., D) gradient of the log density at z.
        noise: (..., D) ε, from N(0, 1).
        step_size: s.
        noise_scale: n, a standard deviation.
    """
    return z + (0.5 * step_size**2) * grad + (step_size * noise_scale) * noise


def step_sizes(step_size: float | Sequence[float], n_steps: int) -> list[float]:
    """Return the size of each of `n_steps` steps, where `step_size` is one for all or one for each."""
    return [float(s) for s in step_size] if isinstance(step_size, Sequence) else [float(step_size)] * n_steps


def langevin(
    logdensity: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    step_size: float | Sequence[float],
    n_steps: int,
    noise_scale: float = 1.0,
    rng: Rng,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
    slope: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Run K steps from z and return the final states, (..., D), detached. No parameter gets a `.grad`.

    Args:
        logdensity: (..., D) → (...), in nats; need not be normalised.
        z: (..., D) start.
        step_size: s, or one for each step.
        n_steps: K.
        noise_scale: n, a standard deviation.
        rng: draws the noise.
        callback: called before each step with its number (0, 1, …), z and the gradient, both detached.
        slope: a faster equivalent of `partial(gradient, logdensity)`, such as a recording of it.

    Raises:
        ValueError: a step size that is not positive and finite, a wrong number of them, a negative n_steps, a
            noise_scale that is negative or not finite.
    """
    sizes = step_sizes(step_size, n_steps)
    if n_steps < 0 or len(sizes) != n_steps:
        raise ValueError(f"n_steps must be >= 0 and match step_size, got {n_steps} and {len(sizes)} step sizes")
    if not all(0 < size < math.inf for size in sizes):
        raise ValueError(f"step_size must be > 0 and finite, got {step_size}")
    if not 0 <= noise_scale < math.inf:
        raise ValueError(f"noise_scale must be >= 0 and finite, got {noise_scale}")
    z = z.detach()
    slope = slope or partial(gradient, logdensity)
    for step, size in enumerate(sizes):
        grad = slope(z)
        if callback is not None:
            callback(step, z, grad)
        noise = draw_normal(rng, z.shape, z.device).to(z.dtype)
        z = langevin_step(z, grad, noise, step_size=size, noise_scale=noise_scale)
    return z


def gradient(logdensity: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return ∇_z of a log density, (..., D) → (..., D), in z alone: no parameter gets a `.grad`."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (grad,) = torch.autograd.grad(logdensity(z).sum(), z)
    return grad
