r"""Langevin chains from p0 under the learned prior: what the short run does, and what a long one does after it.

    z_0 ~ p0,  K0 steps on log p_α(z) = f(z) + log p0(z) − log Z,  then the same chain up to L·K0 steps

(Pang et al., NeurIPS 2020, section 3 and figure of Langevin transitions; Nijkamp et al., NeurIPS 2019, for short runs
that never reach their target.) Chains are independent of each other, so that standard errors over chains hold although
the steps of one chain depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.likelihood.estimates import Estimate, mean_of
from lebm_text.models.priors import Prior, base_log_prob
from lebm_text.random import KeyedRng, draw_normal
from lebm_text.samplers.langevin import gradient

__all__ = ["QUANTITIES", "Chains", "LongRun", "decoding_steps", "follow", "long_run", "statements"]

QUANTITIES = ("neg_energy", "logdensity", "norm", "gradient_norm")
BAND = (0.05, 0.5, 0.95)
N_WINDOWS = 10  # of the long run; its drift is that of the second half
DECODED = (0, 1, 5, 10, 20, 40)


@dataclass
class Chains:
    """n chains of K steps.

    Attributes:
        states: by step, (n, D) on the CPU, of the steps that were asked for.
        bands: by quantity, (K + 1, 3): 5 %, median and 95 % over chains at each step; nats, norms without unit.
        neg_energy: (K + 1, n) f at each step.
    """

    states: dict[int, Tensor] = field(default_factory=dict)
    bands: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    neg_energy: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))


@dataclass(frozen=True)
class LongRun:
    """f along a run many times as long as the short one.

    Attributes:
        windows: (first step, last step, mean f with its standard error over chains), `N_WINDOWS` equal parts.
        drift: change of f over the second half of the run: the mean over chains of a straight line's rise.
        short_minus_long: f at the end of the short run less the same chains' mean over that second half.
        fluctuation: standard deviation of f in the second half, over chains and steps.
    """

    windows: list[tuple[int, int, Estimate]]
    drift: Estimate
    short_minus_long: Estimate
    fluctuation: float


def decoding_steps(n_steps: int) -> list[int]:
    """Where sentences are looked at: 0, 1, 5, 10, 20, 40 as far as the short run goes, and its end."""
    return sorted({step for step in DECODED if step < n_steps} | {n_steps})


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
    """Run n chains; the first K0 steps are those of `generate` with this seed, chain by chain.

    Args:
        n_steps: in all; beyond K0 the chain goes on with its last step size.
        at: steps whose states are kept, from 0 to n_steps.
        seed: chain i draws its noise from (seed, i).
        on_step: called with the number of steps done.

    Raises:
        InputError: a prior without a chain, or a chain that left the finite numbers.
    """
    if prior.chain is None:
        raise InputError("the prior is sampled exactly: there is no chain to follow")
    chains = Chains(neg_energy=np.empty((n_steps + 1, n), np.float32))
    chains.bands = {name: np.empty((n_steps + 1, len(BAND))) for name in QUANTITIES}
    wanted, levels = set(at), torch.tensor(BAND, device=device)

    @torch.no_grad()
    def look(step: int, z: Tensor, grad: Tensor) -> None:
        f = prior.neg_energy(z)
        figures = torch.stack([f, f + base_log_prob(z), z.norm(dim=-1), grad.norm(dim=-1)])
        if not figures.isfinite().all():
            raise InputError(f"a chain left the finite numbers at step {step}; is prior.step_size too large?")
        for name, band in zip(QUANTITIES, figures.quantile(levels, dim=1).T.cpu().numpy(), strict=True):
            chains.bands[name][step] = band
        chains.neg_energy[step] = f.cpu().numpy()
        if step in wanted:
            chains.states[step] = z.cpu()
        if on_step is not None:
            on_step(step)

    rng = KeyedRng(seed, range(n))
    start = draw_normal(rng, (n, prior.latent_dim), device)
    z = prior.chain.adapted(n_steps=n_steps).run(prior.logdensity, start, rng=rng, callback=look)
    look(n_steps, z, gradient(prior.logdensity, z))
    return chains


def long_run(neg_energy: NDArray[np.float32], n_short: int) -> LongRun:
    """What (K + 1, n) values of f say of a run whose first `n_short` steps are the short run; K ≥ 2 · N_WINDOWS."""
    edges = np.linspace(1, len(neg_energy), N_WINDOWS + 1).astype(int)
    spans = list(pairwise(edges.tolist()))
    means = np.stack([neg_energy[first:end].mean(0, dtype=np.float64) for first, end in spans])
    windows = [
        (first, end - 1, mean_of(torch.from_numpy(mean))) for (first, end), mean in zip(spans, means, strict=True)
    ]
    late, second_half = means[N_WINDOWS // 2 :], neg_energy[edges[N_WINDOWS // 2] :]
    place = np.arange(len(late)) - (len(late) - 1) / 2
    rise = len(late) * (place @ late) / (place @ place)  # (n,) of the line through a chain's windows
    return LongRun(
        windows,
        drift=mean_of(torch.from_numpy(rise)),
        short_minus_long=mean_of(torch.from_numpy(neg_energy[n_short] - second_half.mean(0, dtype=np.float64))),
        fluctuation=float(second_half.std(dtype=np.float64)),
    )


def statements(long: LongRun, n_short: int, n_long: int) -> list[str]:
    """The long run in plain words; two standard errors decide between them."""
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
        f"in steps {long.windows[N_WINDOWS // 2][0]:,} to {n_long:,} {found}: "
        f"it changes by {drift.value:+.4f} ± {drift.standard_error:.4f} nat",
        f"the short run of {n_short} steps {level}: f differs by "
        f"{difference.value:+.4f} ± {difference.standard_error:.4f} nat",
    ]
