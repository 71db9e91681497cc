r"""Langevin chains from p0 under the learned prior: the short run, and its continuation as a long run.

    z_0 ~ p0,  K0 steps on log p_α(z) = f(z) + log p0(z) − log Z,  then the same chain up to L·K0 steps

(Pang et al., NeurIPS 2020, section 3 and the figure of Langevin transitions; Nijkamp et al., NeurIPS 2019, for short
runs that do not converge to their target.) Standard errors are over chains, which are independent, unlike the steps of
a chain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.likelihood.estimates import Estimate, mean_of
from lebm_text.models.base import Chain, Prior
from lebm_text.models.priors import base_log_prob
from lebm_text.random import KeyedRng, draw_normal
from lebm_text.samplers.langevin import gradient

from .base import format_interval

__all__ = ["QUANTITIES", "Band", "Chains", "LongRun", "chain_of", "decoding_steps", "describe_long_run", "follow"]
__all__ += ["long_run"]

Band = tuple[float, float, float]
"""5 % quantile, median and 95 % quantile over chains."""

QUANTITIES = {
    "neg_energy": "f(z), nats",
    "logdensity": "f(z) + log p0(z), nats",
    "norm": "‖z‖",
    "gradient_norm": "‖∇ log p(z)‖",
}
_LEVELS = (0.05, 0.5, 0.95)
_N_WINDOWS = 10  # windows of the long run; the drift is measured over the second half
_DECODED = (0, 1, 5, 10, 20, 40)  # steps
_CURVE_POINTS = 200  # approximate number of points of the curve of the long run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chains:
    """n chains of K steps.

    Attributes:
        states: requested step → z (n, D), on the CPU.
        bands: quantity → its band at each of K + 1 steps.
        neg_energy: f at each step, (K + 1, n), in nats.
    """

    states: dict[int, Tensor]
    bands: dict[str, list[Band]]
    neg_energy: NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A part of the long run, and the mean of f in it, with its standard error over chains."""

    first: int
    last: int
    mean: Estimate


@dataclass(frozen=True)
class Curve:
    """f and ‖z‖ along the long run, at a subset of its steps."""

    steps: list[int]
    neg_energy: list[Band]
    norm: list[Band]


@dataclass(frozen=True)
class LongRun:
    """f, in nats, along a run many times as long as the short run.

    Attributes:
        windows: `_N_WINDOWS` equal parts of the run.
        drift: change of f over the second half of the run: mean over chains of the rise of a fitted straight line.
        short_minus_long: f at the end of the short run, minus the mean of f of the same chains over the second half.
        fluctuation: standard deviation of f in the second half, over chains and steps.
        curve: f and ‖z‖ over the whole run.
    """

    windows: list[Window]
    drift: Estimate
    short_minus_long: Estimate
    fluctuation: float
    curve: Curve


def decoding_steps(n_steps: int) -> list[int]:
    """Return the steps at which sentences are decoded: 0, 1, 5, 10, 20, 40 up to `n_steps`, and `n_steps`."""
    return sorted({step for step in _DECODED if step < n_steps} | {n_steps})


def chain_of(prior: Prior) -> Chain:
    """Return the chain that samples a prior. Raises InputError if it has none."""
    if prior.chain is None:
        raise InputError("the prior is sampled exactly, as a Gaussian one is: there is no chain to follow")
    return prior.chain


def follow(
    prior: Prior,
    n: int,
    *,
    n_steps: int,
    at: Sequence[int],
    seed: int,
    device: torch.device,
    on_step: Callable[[int], None] | None = None,
) -> Chains:
    """Run n chains; the first K0 steps of chain i are those of sentence i of `generate` with this seed.

    Args:
        prior: with a chain of K0 steps.
        n: number of chains.
        n_steps: total number of steps; after K0 steps the chain continues with its last step size.
        at: steps whose states are kept, from 0 to n_steps.
        seed: chain i draws its noise from (seed, i).
        device: where the prior is.
        on_step: called with the number of steps done.

    Raises:
        InputError: the prior has no chain, or a chain reached values that are not finite.
    """
    chain = chain_of(prior)
    chains = Chains({}, {name: [] for name in QUANTITIES}, np.empty((n_steps + 1, n), np.float32))
    wanted, levels = set(at), torch.tensor(_LEVELS, device=device)

    @torch.no_grad()
    def record(step: int, z: Tensor, grad: Tensor) -> None:
        f = prior.neg_energy(z)
        figures = torch.stack([f, f + base_log_prob(z), z.norm(dim=-1), grad.norm(dim=-1)])
        if not figures.isfinite().all():
            raise InputError(f"a chain left the finite numbers at step {step}; is prior.step_size too large?")
        for name, (low, median, high) in zip(QUANTITIES, figures.quantile(levels, dim=1).T.tolist(), strict=True):
            chains.bands[name].append((low, median, high))
        if step == chain.n_steps and n > 1:  # logged at once, since a long run takes minutes more
            first, last = (
                f"{median:.2f} ({format_interval(low, high)})"
                for low, median, high in chains.bands["neg_energy"][::step]
            )
            logger.info(f"f of {n:,} chains, median (5 % to 95 %): {first} at the start, {last} after {step} steps")
        chains.neg_energy[step] = f.cpu().numpy()
        if step in wanted:
            chains.states[step] = z.cpu()
        if on_step is not None:
            on_step(step)

    rng = KeyedRng(seed, range(n))
    start = draw_normal(rng, (n, prior.latent_dim), device)
    z = chain.adapted(n_steps=n_steps).run(prior.logdensity, start, rng=rng, callback=record)
    record(n_steps, z, gradient(prior.logdensity, z))
    return chains


def long_run(chains: Chains, n_short: int) -> LongRun:
    """Summarise f along chains of K ≥ 20 steps, of which the first `n_short` are the short run."""
    neg_energy, n_long = chains.neg_energy, len(chains.neg_energy) - 1
    edges = np.linspace(1, n_long + 1, _N_WINDOWS + 1).astype(int)
    spans = list(pairwise(edges.tolist()))
    means = np.stack([neg_energy[first:end].mean(0, dtype=np.float64) for first, end in spans])
    windows = [
        Window(first, end - 1, mean_of(torch.from_numpy(mean))) for (first, end), mean in zip(spans, means, strict=True)
    ]
    late, second_half = means[_N_WINDOWS // 2 :], neg_energy[edges[_N_WINDOWS // 2] :]
    place = np.arange(len(late)) - (len(late) - 1) / 2
    rise = len(late) * (place @ late) / (place @ place)  # (n,), of the line fitted to the windows of a chain
    steps = list(range(0, n_long + 1, max(1, n_long // _CURVE_POINTS)))
    return LongRun(
        windows,
        drift=mean_of(torch.from_numpy(rise)),
        short_minus_long=mean_of(torch.from_numpy(neg_energy[n_short] - second_half.mean(0, dtype=np.float64))),
        fluctuation=float(second_half.std(dtype=np.float64)),
        curve=Curve(steps, *([chains.bands[name][step] for step in steps] for name in ("neg_energy", "norm"))),
    )


def describe_long_run(long: LongRun, n_short: int, n_long: int) -> list[str]:
    """Describe the long run in words; differences up to two standard errors count as none."""
    drift, difference = long.drift, long.short_minus_long
    if abs(drift.value) <= 2 * drift.standard_error:
        found = f"f fluctuates around a constant (standard deviation {long.fluctuation:.3f})"
    else:
        found = f"f still {'rises' if drift.value > 0 else 'falls'}"
    if abs(difference.value) <= 2 * difference.standard_error:
        level = "has reached the long run's level"
    else:
        level = f"ends {'above' if difference.value > 0 else 'below'} the long run's level"
    return [
        f"in steps {long.windows[_N_WINDOWS // 2].first:,} to {n_long:,} {found}: "
        f"it changes by {drift.value:+.4f} ± {drift.standard_error:.4f} nat",
        f"the short run of {n_short} steps {level}: f differs by "
        f"{difference.value:+.4f} ± {difference.standard_error:.4f} nat",
    ]
