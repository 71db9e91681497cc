r"""log Z(α) = log E_{p0}[exp f(z)], estimated in three ways that must agree, the last if its sample size suffices.

    forward AIS from p0 (too low in expectation), reverse AIS from samples of p_α (too high if they are exact),
    and plain importance sampling, log mean exp f of many p0 draws

The samples of p_α are p0 draws resampled with weights exp f and moved by MALA, or, if the mass is in too few of them,
separate long MALA chains. Z involves no sentence, so thousands of chains cost seconds; a Gaussian prior has log Z = 0.
In expectation, subtracting the reverse value from log A(x) gives at most log p(x), the forward value at least that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from lebm_text.models.base import LogDensity, Prior
from lebm_text.models.priors import base_log_prob
from lebm_text.progress import Progress, adder, silent
from lebm_text.random import draw_normal, draw_uniform
from lebm_text.samplers.ais import anneal, lower_bound, tune, upper_bound
from lebm_text.samplers.hmc import evaluate, hmc, normal_noise, recorded
from lebm_text.samplers.importance import LogMean, log_mean_exp

from .estimates import Estimate, LogZ

__all__ = ["log_partition", "partition_of"]

MIN_DRAWS_ESS = 10_000  # required of plain importance sampling: a standard error of 0.01 or less
AT_ONCE = 1 << 15  # p0 draws per product
DRAWS_PER_CHAIN = 256  # p0 draws from which the start of each reverse chain is chosen


@torch.no_grad()
def partition_of(
    prior: Prior,
    n_steps: int = 200,
    n_chains: int = 4096,
    *,
    seed: int,
    device: torch.device,
    on_progress: Progress = silent,
) -> tuple[LogZ, Tensor]:
    """Return log Z of a prior: exact if it is known, otherwise by all methods, whether or not they agree.

    Args:
        prior: on `device`.
        n_steps, n_chains: of both AIS runs.
        seed: of all noise.
        device: of the prior.
        on_progress: reports the annealing steps.

    Returns:
        The estimates, and samples of the prior (N, D), from which reverse AIS started.
    """
    rng = torch.Generator().manual_seed(seed)
    if (log_z := prior.log_z()) is not None and prior.chain is None:
        exact = Estimate(log_z, 0.0)
        return LogZ(exact, exact, exact, float(n_chains), "exact", 1.0), prior.sample(n_chains, rng).cpu()
    return log_partition(
        prior.neg_energy,
        torch.zeros(prior.latent_dim, device=device),
        n_steps=n_steps,
        n_chains=n_chains,
        n_draws=DRAWS_PER_CHAIN * n_chains,
        rng=rng,
        on_progress=on_progress,
    )


def log_partition(
    neg_energy: LogDensity,
    like: Tensor,
    *,
    n_steps: int = 200,
    n_chains: int = 4096,
    n_draws: int = 1 << 20,
    n_moves: int = 100,
    n_long: int = 2000,
    rng: torch.Generator,
    on_progress: Progress = silent,
) -> tuple[LogZ, Tensor]:
    """Estimate log E_{p0}[exp f]; the results are those of `partition_of`.

    Args:
        neg_energy: f, (..., D) → (...) in nats.
        like: (D,), for the latent dimension, type and device.
        n_steps: T of both AIS runs.
        n_chains: N of both.
        n_draws: p0 draws of importance sampling, which are also resampled.
        n_moves, n_long: MALA proposals after resampling, or of the chains used instead of it.
        rng: draws all noise.
        on_progress: reports the annealing steps.
    """
    on_step, chains = partial(adder(on_progress, "log Z", 2 * n_steps), 1), like.expand(n_chains, 1, len(like))
    terms = recorded((base_log_prob, neg_energy), chains)
    schedule = tune(terms, normal_noise(rng, chains), n_steps=n_steps, rng=rng)
    forward = anneal(terms, normal_noise(rng, chains), schedule, rng=rng, on_step=on_step)
    plain, resampled = _resample(neg_energy, like, n_draws, n_chains, rng)
    # If one draw were resampled many times, the chains would not be independent.
    enough = float(plain.ess) >= n_chains
    start = evaluate(terms, resampled if enough else normal_noise(rng, chains))
    size, n = schedule.step_sizes[-1], n_moves if enough else n_long
    moved = hmc(terms, (1.0, 1.0), start, step_size=size, n_steps=n, rng=rng)[0].z
    reverse = anneal(terms, moved, schedule, rng=rng, reverse=True, on_step=on_step)
    log_z = LogZ(
        forward=_only(lower_bound(forward)),
        reverse=_only(upper_bound(reverse)),
        importance=_only(plain) if float(plain.ess) >= MIN_DRAWS_ESS else None,
        importance_ess=float(plain.ess),
        samples_from=f"resampled p0 draws and {n_moves} MALA steps" if enough else f"{n_long} MALA steps from p0",
        acceptance=(float(forward.acceptance) + float(reverse.acceptance)) / 2,
    )
    return log_z, moved[:, 0]


@torch.no_grad()
def _resample(
    neg_energy: LogDensity, like: Tensor, n_draws: int, n: int, rng: torch.Generator
) -> tuple[LogMean, Tensor]:
    """Return log mean exp f of `n_draws` p0 draws, and n of them (n, 1, D) resampled with weights exp f.

    The draws are generated twice instead of being stored, since there are many times n of them.
    """
    state = rng.get_state()
    tilt = torch.cat([neg_energy(block).double() for block in _blocks(rng, n_draws, like)])
    mass = (tilt - tilt.max()).exp().cumsum(0)
    # One uniform in each of n equal parts of the mass: systematic resampling adds the least noise.
    levels = (torch.arange(n, device=mass.device) + draw_uniform(rng, (1,), mass.device)) * (mass[-1] / n)
    chosen = torch.searchsorted(mass, levels, right=True).clamp(max=n_draws - 1)
    after = rng.get_state()
    rng.set_state(state)
    parts, start = [], 0
    for block in _blocks(rng, n_draws, like):
        inside = (chosen >= start) & (chosen < start + len(block))
        parts.append(block[chosen[inside] - start])
        start += len(block)
    rng.set_state(after)
    return log_mean_exp(tilt.unsqueeze(1)), torch.cat(parts).unsqueeze(1)


def _blocks(rng: torch.Generator, n: int, like: Tensor) -> Iterator[Tensor]:
    for start in range(0, n, AT_ONCE):
        yield draw_normal(rng, (min(AT_ONCE, n - start), len(like)), like.device).to(like.dtype)


def _only(mean: LogMean) -> Estimate:
    return Estimate(float(mean.value), float(mean.standard_error))
