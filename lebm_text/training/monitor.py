r"""What a run reports of itself, and when it warns.

Every update gives cheap figures, averaged over the interval; `probe` adds dearer ones, measured once an interval on
the batch at hand. `Watchdog` turns reports into warnings of collapse and divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.langevin import gradient

__all__ = ["Averages", "Watchdog", "largest_curvature", "require_finite", "spread", "z_usage"]


class Averages:
    """Means of figures over an interval of updates, as plain numbers that a checkpoint can hold."""

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self.sums = {name: (float(total), int(count)) for name, (total, count) in (sums or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Take the figures of one update; not every update need have all."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def flush(self) -> dict[str, float]:
        """The means since the last flush."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def spread(z: Tensor) -> float:
    """Root mean square over dimensions of the standard deviation over a batch of at least two, (B, D)."""
    return float(z.var(0).mean().sqrt())


def z_usage(
    likelihood: Callable[[Tensor], Tensor], z: Tensor, z_prior: Tensor, z_shuffled: Tensor | None
) -> dict[str, float]:
    """Mean log p(x|z) in nats a sentence with z⁺, with z⁺ of another sentence, and with z from the prior.

    A batch of one has no other sentence, None, and then no figure `shuffled`.
    """
    candidates = {"posterior": z, "shuffled": z_shuffled, "prior": z_prior}
    with torch.no_grad():
        return {name: float(likelihood(at).mean()) for name, at in candidates.items() if at is not None}


def largest_curvature(
    logdensity: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    rng: Rng,
    n_iterations: int = 6,
    radius: float = 0.1,
) -> float:
    """Largest |eigenvalue| of the Hessian of −log density over the rows of z (B, D).

    Power iteration on each row, Hessian-vector products by central differences of the gradient at `radius`. A
    Langevin step of size s is unstable where it exceeds 4/s².
    """

    direction = draw_normal(rng, z.shape, z.device)
    curvature = z.new_zeros(z.shape[0])
    for _ in range(n_iterations):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-30)
        step = radius * direction
        direction = (gradient(logdensity, z + step) - gradient(logdensity, z - step)) / (2 * radius)
        curvature = direction.norm(dim=1)
    return float(curvature.max())


def require_finite(step: int, values: Mapping[str, float]) -> None:
    """Stop a run whose numbers have left the reals.

    Raises:
        FloatingPointError: with the step and all values, if one is not finite.
    """
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        listing = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        raise FloatingPointError(f"non-finite {' and '.join(bad)} at step {step} ({listing})")


class Watchdog:
    """Warnings for the signs of collapse and of divergence, said when a sign begins, not at every report.

    Each sign is a number that is 1 at its threshold; it is over once it has fallen to 1/2. z counts as ignored where
    its own z makes a token less than 1 % more probable than another sentence's; a step as too long where curvature ×
    s²/4 reaches 1/2, half-way to instability; the phases as apart where the energy gap reaches D nats, or one
    spreads twice as wide as the other.
    """

    def __init__(self, latent_dim: int, active: Sequence[str] = ()) -> None:
        self.latent_dim = latent_dim
        self.active = set(active)

    def check(self, report: Mapping[str, float]) -> list[str]:
        """New warnings for one report (keys as in metrics.jsonl; missing keys are not checked)."""
        levels = self._levels(report)
        begun = [name for name, level in levels.items() if level >= 1 and name not in self.active]
        going_on = {name for name in self.active if levels.get(name, 1.0) > 0.5}
        self.active = going_on | set(begun)
        return [_WARNINGS[name].format(**report) for name in begun]

    def _levels(self, report: Mapping[str, float]) -> dict[str, float]:
        levels = {}
        if "nll_shuffled" in report:
            gain = math.expm1(min(report["nll_shuffled"] - report["nll_posterior"], 1.0))
            levels["collapse"] = 0.01 / max(gain, 1e-9)
        if "curvature" in report:
            levels["curvature"] = report["curvature"] / 0.5
        if "gap" in report:
            levels["gap"] = abs(report["gap"]) / self.latent_dim
        if "std_ratio" in report:
            levels["spread"] = abs(math.log2(max(report["std_ratio"], 1e-9)))
        return levels


_WARNINGS = {
    "collapse": "z is ignored: another sentence's z explains a sentence as well as its own "
    "(raise inference.likelihood_weight, or with an encoder inference.free_bits)",
    "curvature": "a Langevin step is close to instability: curvature x s^2/4 = {curvature:.2f}, unstable above 1 "
    "(lower the step size)",
    "gap": "the phases drift apart: f(z+) - f(z-) = {gap:.1f} nats (more prior steps, or a lower "
    "training.prior_learning_rate)",
    "spread": "the posterior's z spread {std_ratio:.2f} times as wide as the prior's",
}
