r"""log p(x) of many sentences, batch by batch: a lower bound by AIS, and importance sampling.

    log p(x) = log A(x) − log Z(α),   A(x) = ∫ p0(z) exp(f(z)) p(x|z) dz

Only A(x) is estimated here. The density is p_θ at temperature 1 without dropout: none of the training chain's noise,
weights or steps enters. What a sentence draws depends on (seed, its index) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.models.base import Generator, Prior
from lebm_text.models.priors import base_log_prob
from lebm_text.processes import ALONE, Processes
from lebm_text.random import KeyedRng, Rng
from lebm_text.samplers.hmc import normal_noise
from lebm_text.text.batching import Batch, EncodedCorpus

from .ais import Path, Schedule, anneal, lower_bound, tune
from .diagnostics import posterior_chains
from .estimates import LogMean
from .importance import Gaussian, fit_proposal, importance_sample

__all__ = ["AISBounds", "AISSettings", "ais_bounds", "begin", "importance_values", "joint", "keyed", "sentence_path"]

ROWS = 256  # chains side by side: enough to keep the products large, few enough to stay in memory
STREAMS = 4  # of each sentence, so that no two uses share their noise


@dataclass(frozen=True)
class AISSettings:
    """How log A(x) is annealed.

    Attributes:
        n_steps: T.
        n_chains: C of each sentence.
        start: "prior": from p0; "proposal": from the Gaussian that importance sampling uses.
        n_leapfrog: of a proposal; 1 is MALA.
        n_moves: further steps at β = 1, of which the second half is averaged.
    """

    n_steps: int = 500
    n_chains: int = 8
    start: str = "prior"
    n_leapfrog: int = 1
    n_moves: int = 100


class AISBounds(NamedTuple):
    """Of n sentences, in the order asked for, on the CPU.

    log_a: bounds on log A(x), their standard errors and the chains' ess, each (n,); acceptance (n,);
    z (C, n, D) and log_likelihood (n,): averages over the posterior chains that went on.
    """

    log_a: LogMean
    acceptance: Tensor
    z: Tensor
    log_likelihood: Tensor


def joint(prior: Prior, likelihood: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """log p0(z) + f(z) + log p(x|z) in nats, (C, B, D) → (C, B)."""
    return lambda z: prior.logdensity(z) + likelihood(z)


def sentence_path(prior: Prior, likelihood: Callable[[Tensor], Tensor], proposal: Gaussian | None = None) -> Path:
    """From p0, or the proposal, to p0 exp f p(x|·); the last tilt is log p(x|·)."""
    if proposal is None:
        return Path(base_log_prob, (prior.neg_energy, likelihood))
    return Path(proposal.log_prob, (lambda z: prior.logdensity(z) - proposal.log_prob(z), likelihood))


def begin(
    prior: Prior, likelihood: Callable[[Tensor], Tensor], like: Tensor, settings: AISSettings, rng: Rng
) -> tuple[Path, Schedule, Callable[[], Tensor]]:
    """The path of a batch, its schedule from a pilot run, and a function that draws starts (C, B, D)."""
    proposal = fit_proposal(joint(prior, likelihood), like[0], rng=rng) if settings.start == "proposal" else None
    path = sentence_path(prior, likelihood, proposal)

    def start() -> Tensor:
        noise = normal_noise(rng, like)
        return noise if proposal is None else proposal.at(noise)

    schedule = tune(
        path,
        start(),
        n_steps=settings.n_steps,
        n_pilot=max(settings.n_steps // 4, 10),
        n_leapfrog=settings.n_leapfrog,
        rng=rng,
    )
    return path, schedule, start


def ais_bounds(
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    settings: AISSettings,
    *,
    seed: int,
    first: int = 0,
    on_progress: Callable[[int], None] | None = None,
    processes: Processes = ALONE,
) -> AISBounds:
    """Bounds on log A(x) from below, and posterior chains from where the annealing ended.

    Args:
        index: which sentences.
        first: the number that the corpus's first sentence has in its text.
        on_progress: called with the annealing steps done here, summed over sentences; without other processes
            `len(index) · n_steps` at the end.
        processes: that share the work, batch by batch, and all get all figures: those of one process, to the bit.
    """
    n, chains = len(index), settings.n_chains
    figures = torch.zeros(5, n, dtype=torch.float64)
    z = torch.zeros(chains, n, prior.latent_dim)
    count = counter(on_progress)
    for rows, batch in batches(corpus, index, max(1, ROWS // chains), generator, processes):
        on_step = partial(count, len(rows))
        rng, likelihood = keyed(seed, batch, 0, first), generator.likelihood(batch)
        path, schedule, start = begin(prior, likelihood, _like(prior, generator, chains, batch), settings, rng)
        annealed = anneal(path, start(), schedule, rng=rng, on_step=on_step)
        posterior = posterior_chains(
            path,
            annealed.place,
            step_size=schedule.step_sizes[-1],
            n_steps=settings.n_moves,
            n_leapfrog=settings.n_leapfrog,
            rng=rng,
        )
        columns = (*lower_bound(annealed), annealed.acceptance, posterior.log_likelihood.mean(0))
        figures[:, rows] = torch.stack([column.double().cpu() for column in columns])
        z[:, rows] = posterior.z.float().cpu()
    processes.sum_(figures)
    processes.sum_(z)
    value, error, ess, acceptance, log_likelihood = figures
    return AISBounds(LogMean(value, error, ess), acceptance, z, log_likelihood)


def importance_values(
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    *,
    n_samples: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
    processes: Processes = ALONE,
) -> LogMean:
    """log A(x) by importance sampling, with ess: each (n,) on the CPU, in the order of `index`.

    `processes` share the work as in `ais_bounds`.
    """
    at_once = min(16, n_samples)
    figures = torch.zeros(3, len(index), dtype=torch.float64)
    count = counter(on_progress)
    for rows, batch in batches(corpus, index, max(1, ROWS // at_once), generator, processes):
        rng, target = keyed(seed, batch, 1), joint(prior, generator.likelihood(batch))
        proposal = fit_proposal(target, _like(prior, generator, 1, batch)[0], rng=rng)
        found = importance_sample(target, proposal, n_samples=n_samples, at_once=at_once, rng=rng)
        figures[:, rows] = torch.stack([column.cpu() for column in found])
        count(len(rows))
    processes.sum_(figures)
    return LogMean(*figures)


def batches(
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    size: int,
    generator: Generator,
    processes: Processes = ALONE,
) -> Iterator[tuple[Tensor, Batch]]:
    """Batches of like lengths on the generator's device, each with its rows' places in `index`.

    Of several processes, each has every `processes.size`-th batch.
    """
    order = np.argsort(-corpus.lengths[index], kind="stable")
    for start in range(processes.rank * size, len(order), processes.size * size):
        rows = order[start : start + size]  # longest first, so that the batch keeps this order
        yield torch.from_numpy(rows), corpus.batch(index[rows]).to(generator.device)


def counter(on_progress: Callable[[int], None] | None) -> Callable[[int], None]:
    """A function that is told how much more is done and tells `on_progress` how much that is in all."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if on_progress is not None:
            on_progress(done)

    return count


def keyed(seed: int, batch: Batch, stream: int, first: int = 0) -> KeyedRng:
    """The noise of a batch's sentences for one of `STREAMS` uses; `first`: the number of the corpus's first one."""
    return KeyedRng(seed, [STREAMS * (first + int(i)) + stream for i in batch.index])


def _like(prior: Prior, generator: Generator, chains: int, batch: Batch) -> Tensor:
    return next(generator.parameters()).new_zeros(chains, len(batch.lengths), prior.latent_dim)
