r"""log p(x) of many sentences, batch by batch: a lower bound by AIS, importance sampling, or exact if D = 0.

    log p(x) = log A(x) − log Z(α),   A(x) = ∫ p0(z) exp(f(z)) p(x|z) dz

Only A(x) is estimated here. The density is p_θ at temperature 1 without dropout, independent of the noise,
weights and steps of the training chain. A sentence's noise depends only on (seed, its index).
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

from lebm_text.checks import Checked, one_of, setting, whole
from lebm_text.models.base import Generator, LogDensity, Prior
from lebm_text.models.priors import base_log_prob
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, adder, silent
from lebm_text.random import KeyedRng, Rng
from lebm_text.samplers.ais import Schedule, anneal, lower_bound, tune
from lebm_text.samplers.hmc import State, Terms, hmc, normal_noise, recorded
from lebm_text.samplers.importance import LogMean, fit_proposal, importance_sample
from lebm_text.sections import MAX_STEPS
from lebm_text.text.batching import Batch, EncodedCorpus

__all__ = [
    "ROWS",
    "AISBounds",
    "AISSettings",
    "ais_bounds",
    "annealing",
    "batches",
    "chain_averages",
    "exact_log_probs",
    "importance_values",
    "joint",
    "sentence_rng",
]

ROWS = 256  # chains in parallel: enough to keep the products large, few enough for the memory
STREAMS = 4  # noise streams per sentence, one for each use


@dataclass(frozen=True)
class AISSettings(Checked):
    """How log A(x) is annealed.

    Attributes:
        n_steps: T.
        n_chains: C, for each sentence.
        start: `prior`: from p0; `proposal`: from the Gaussian that importance sampling uses.
        n_leapfrog: leapfrog steps per proposal; 1 is MALA.
        n_moves: further steps at β = 1, of which the second half is averaged.
    """

    n_steps: int = setting(500, whole, 2, MAX_STEPS)
    n_chains: int = setting(8, whole, 1, 4096)
    start: str = setting("prior", one_of, ("prior", "proposal"))
    n_leapfrog: int = setting(1, whole, 1, 1000)
    n_moves: int = setting(100, whole, 1, MAX_STEPS)


class AISBounds(NamedTuple):
    """Bounds for n sentences, in the order of `index`, on the CPU.

    Attributes:
        log_a: bounds on log A(x), their standard errors and the effective sample sizes of the chains, each (n,).
        acceptance: (n,) mean acceptance probability.
        z: (C, n, D) averages over the continued posterior chains.
        log_likelihood: (n,) averages of log p(x|z) over them.
    """

    log_a: LogMean
    acceptance: Tensor
    z: Tensor
    log_likelihood: Tensor


def joint(prior: Prior, likelihood: LogDensity) -> LogDensity:
    """Return log p0(z) + f(z) + log p(x|z) in nats, as a function (C, B, D) → (C, B)."""
    return lambda z: prior.logdensity(z) + likelihood(z)


def annealing(
    prior: Prior, likelihood: LogDensity, like: Tensor, settings: AISSettings, rng: Rng
) -> tuple[Terms, Schedule, Callable[[], Tensor]]:
    """Return the terms of a path to p0 exp(f) p(x|·), the last being log p(x|·), its schedule, and a start sampler.

    Args:
        prior: on z.
        likelihood: log p(x|z) of B sentences in nats, (C, B, D) → (C, B).
        like: (C, B, D), with the shape, type and device of the starts.
        settings: of the start and the numbers of steps.
        rng: draws the starts and the noise of tuning; its items are the B sentences.
    """
    terms: Terms = (base_log_prob, prior.neg_energy, likelihood)
    proposal = fit_proposal(joint(prior, likelihood), like[0], rng=rng) if settings.start == "proposal" else None
    if proposal is not None:
        log_q = proposal.log_prob
        terms = (log_q, lambda z: prior.logdensity(z) - log_q(z), likelihood)

    def start() -> Tensor:
        noise = normal_noise(rng, like)
        return noise if proposal is None else proposal.at(noise)

    terms = recorded(terms, like)
    return terms, tune(terms, start(), n_steps=settings.n_steps, n_leapfrog=settings.n_leapfrog, rng=rng), start


def chain_averages(
    terms: Terms, state: State, *, step_size: Tensor, n_steps: int, n_leapfrog: int = 1, rng: Rng
) -> tuple[Tensor, Tensor]:
    """Continue M chains for each of B targets at β = 1 and average over the second half of their steps.

    Args:
        terms: as `annealing` returns them.
        state: of the chains, at the end of the annealing.
        step_size: s of each target, (B,).
        n_steps: HMC proposals, at least 1.
        n_leapfrog: leapfrog steps per proposal.
        rng: draws the noise; its items are the B targets.

    Returns:
        Means of z (M, B, D) and of the last term, log p(x|z), (M, B) in nats.
    """
    kept = max(n_steps // 2, 1)
    move = partial(hmc, terms, [1.0] * len(terms), step_size=step_size, n_leapfrog=n_leapfrog, rng=rng)
    state, _ = move(state, n_steps=n_steps - kept)
    z, values = torch.zeros_like(state.z), torch.zeros_like(state.values[-1])
    for _ in range(kept):
        state, _ = move(state, n_steps=1)
        z += state.z / kept
        values += state.values[-1] / kept
    return z, values


def ais_bounds(
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    settings: AISSettings,
    *,
    seed: int,
    first: int = 0,
    on_progress: Progress = silent,
    processes: Processes = ALONE,
) -> AISBounds:
    """Return lower bounds on log A(x), and posterior chains continued from the end of the annealing.

    Args:
        prior, generator: p_α(z) and p_β(x|z).
        corpus, index: the sentences, and which of them.
        settings: of annealing and of the chains after it.
        seed: of all chains; sentence i draws from (seed, i).
        first: number of the corpus's first sentence within its text.
        on_progress: called with the annealing steps of this process, summed over sentences.
        processes: that share the batches; all get all figures, bit-identical to those of one process.
    """
    n, chains = len(index), settings.n_chains
    figures = torch.zeros(5, n, dtype=torch.float64)
    z = torch.zeros(chains, n, prior.latent_dim)
    add = adder(on_progress, "AIS", n * settings.n_steps // processes.size)
    for rows, batch in batches(corpus, index, max(1, ROWS // chains), generator, processes):
        rng, likelihood = sentence_rng(seed, batch, 0, first), generator.likelihood(batch)
        like = next(generator.parameters()).new_zeros(chains, len(rows), prior.latent_dim)
        terms, schedule, start = annealing(prior, likelihood, like, settings, rng)
        annealed = anneal(terms, start(), schedule, rng=rng, on_step=partial(add, len(rows)))
        size, n_moves, n_leapfrog = schedule.step_sizes[-1], settings.n_moves, settings.n_leapfrog
        means, log_likelihood = chain_averages(
            terms, annealed.state, step_size=size, n_steps=n_moves, n_leapfrog=n_leapfrog, rng=rng
        )
        columns = (*lower_bound(annealed), annealed.acceptance, log_likelihood.mean(0))
        figures[:, rows] = torch.stack([column.double().cpu() for column in columns])
        z[:, rows] = means.float().cpu()
    processes.sum_(figures)
    processes.sum_(z)
    value, error, ess, acceptance, log_likelihood = figures
    return AISBounds(LogMean(value, error, ess), acceptance, z, log_likelihood)


def importance_values(
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    n_samples: int,
    *,
    seed: int,
    on_progress: Progress = silent,
    processes: Processes = ALONE,
) -> LogMean:
    """Return log A(x) by K = `n_samples` draws for each sentence, with ess: each (n,) on the CPU, in `index` order.

    The other arguments are those of `ais_bounds`.
    """
    at_once = min(16, n_samples)
    figures = torch.zeros(3, len(index), dtype=torch.float64)
    add = adder(on_progress, "importance sampling", len(index) // processes.size)
    for rows, batch in batches(corpus, index, max(1, ROWS // at_once), generator, processes):
        rng, target = sentence_rng(seed, batch, 1), joint(prior, generator.likelihood(batch))
        start = next(generator.parameters()).new_zeros(len(rows), prior.latent_dim)
        proposal = fit_proposal(target, start, rng=rng)
        found = importance_sample(target, proposal, n_samples=n_samples, at_once=at_once, rng=rng)
        figures[:, rows] = torch.stack([column.cpu() for column in found])
        add(len(rows))
    processes.sum_(figures)
    return LogMean(*figures)


@torch.no_grad()
def exact_log_probs(
    generator: Generator, corpus: EncodedCorpus, index: NDArray[np.int64], on_progress: Progress = silent
) -> NDArray[np.float64]:
    """Return log p(x) of a language model (D = 0), exact without z: (n,) nats, in the order of `index`.

    Args:
        generator: the language model.
        corpus, index: the sentences, and which n of them.
        on_progress: called with the number of sentences done.
    """
    log_probs = np.empty(len(index))
    add = adder(on_progress, "log p(x)", len(index))
    for rows, batch in batches(corpus, index, ROWS, generator):
        empty = next(generator.parameters()).new_zeros(len(rows), 0)
        log_probs[rows.numpy()] = generator.likelihood(batch)(empty).double().cpu().numpy()
        add(len(rows))
    return log_probs


def batches(
    corpus: EncodedCorpus, index: NDArray[np.int64], size: int, generator: Generator, processes: Processes = ALONE
) -> Iterator[tuple[Tensor, Batch]]:
    """Yield batches of similar lengths on the generator's device, with the positions of their rows in `index`.

    Args:
        corpus, index: the sentences, and which of them.
        size: sentences per batch.
        generator: that reads them.
        processes: each of several yields every `processes.size`-th batch.
    """
    order = np.argsort(-corpus.lengths[index], kind="stable")
    for start in range(processes.rank * size, len(order), processes.size * size):
        rows = order[start : start + size]  # longest first, so that the batch keeps this order
        yield torch.from_numpy(rows), corpus.batch(index[rows]).to(generator.device)


def sentence_rng(seed: int, batch: Batch, stream: int, first: int = 0) -> KeyedRng:
    """Return the noise of a batch's sentences for one of `STREAMS` uses.

    Args:
        seed: of the noise.
        batch: the sentences.
        stream: number of the use.
        first: number of the corpus's first sentence within its text.
    """
    return KeyedRng(seed, [STREAMS * (first + int(i)) + stream for i in batch.index])
