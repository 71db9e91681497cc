r"""What the latent vector carries, how far the generating chain is from the density, and how tight a bound is.

    chain gap     E_chain[f] − E_{p_α}[f]        K0 steps from p0, as generation does, against samples of p_α
    active units  Var_x(mean of z_d over M chains) − mean within-variance / M  > 0.01
    KL of q       KL(q(z|x)‖p_α) = Σ_d KL(q(z_d|x)‖p0(z_d)) − E_q f(z) + log Z(α)
    bracket       z* ~ p_α,  x ~ p(x|z*)   ⇒   z* is a sample of p(z|x), from which AIS can run in reverse

(Burda et al., 2016, for active units, here without an encoder: a mean of M chains still has the noise of M chains,
which is subtracted.) In the KL of a normal q, from an encoder or fitted, the first term has a closed form, the second
is a mean over draws. It differs from the information KL(p(z|x)‖p_α) = E_{p(z|x)}[log p(x|z)] − log p(x), which every
model has: q is not the posterior.

For real text no exact posterior sample is known, hence no upper bound. The gap of the bounds on simulated sentences
(bidirectional Monte Carlo: Grosse et al., 2015) shows how tight the lower one is likely to be for such sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.generation.decoding import decode
from lebm_text.generation.settings import DecodeSettings
from lebm_text.inference.base import Moments
from lebm_text.inference.variational import base_kl, sample
from lebm_text.models.base import Generator, Prior
from lebm_text.progress import Progress, adder, silent
from lebm_text.random import KeyedRng, draw_uniform
from lebm_text.samplers.ais import anneal, lower_bound, upper_bound
from lebm_text.samplers.hmc import normal_noise
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.encoding import pack

from .estimates import Estimate, LogZ, mean_of
from .sentences import ROWS, AISBounds, AISSettings, annealing, batches, sentence_rng

__all__ = [
    "MIN_CHAINS",
    "THRESHOLD",
    "Bracket",
    "BracketLikelihood",
    "LatentUse",
    "Simulated",
    "bracket",
    "chain_gap",
    "kl_from_prior",
    "simulate",
    "unit_variances",
]

MIN_CHAINS = 8  # M, below which the within-variance is too uncertain
THRESHOLD = 0.01  # variance of its posterior mean above which a unit counts as active
DRAWS = 64  # of q for each sentence


def chain_gap(f_chain: Tensor, f_long: Tensor) -> Estimate:
    """Return E_chain[f] − E_{p_α}[f] from independent draws of each, (N,) and (M,)."""
    chain, long = mean_of(f_chain), mean_of(f_long)
    error = (chain.standard_error**2 + long.standard_error**2) ** 0.5
    return Estimate(chain.value - long.value, error)


def unit_variances(z: Tensor) -> Tensor:
    """Return the variance of each unit's posterior mean over sentences, (D,); units above `THRESHOLD` are active.

    Args:
        z: (M, N, D), draws or averages of M ≥ `MIN_CHAINS` independent chains for each of N ≥ 2 sentences.
    """
    z = z.double()
    return z.mean(0).var(0) - z.var(0).mean(0) / len(z)


@dataclass(frozen=True)
class LatentUse:
    """Information carried by z; None where there is only one sentence or there are too few chains.

    Attributes:
        reconstruction_nll: −E log p(x|z) over posterior chains: not a likelihood, since z has seen x.
        information: KL(p(z|x) ‖ p_α) in nats; not a bound, since chains that do not end in a draw of p(z|x) make its
            first term too small or too large.
        active_units: number of dimensions of z that vary with the sentence.
        unit_variances: (D,) variance of the posterior mean over sentences.
    """

    reconstruction_nll: Estimate | None
    information: Estimate | None
    active_units: int | None
    unit_variances: list[float] | None

    @classmethod
    def of(cls, ais: AISBounds, log_z: LogZ) -> LatentUse:
        """Compute the figures from the posterior chains of some sentences."""
        log_p, n_chains = ais.log_a.value - log_z.reverse.value, len(ais.z)
        if len(log_p) < 2:
            return cls(None, None, None, None)
        variances = unit_variances(ais.z) if n_chains >= MIN_CHAINS else None
        return cls(
            reconstruction_nll=mean_of(-ais.log_likelihood),
            information=mean_of(ais.log_likelihood - log_p),
            active_units=None if variances is None else int((variances > THRESHOLD).sum()),
            unit_variances=None if variances is None else variances.tolist(),
        )


@torch.no_grad()
def kl_from_prior(
    moments_of: Callable[..., Moments],
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    *,
    log_z: float,
    seed: int,
) -> Tensor:
    """Return KL(q(z|x)‖p_α) of each sentence in nats, (n,) on the CPU in the order of `index`.

    Args:
        moments_of: `Inference.moments`.
        prior, generator: p_α(z) and p_β(x|z).
        corpus, index: the sentences, and which of them.
        log_z: of the prior, in nats.
        seed: of all draws.
    """
    found = torch.empty(len(index), dtype=torch.float64)
    for rows, batch in batches(corpus, index, ROWS, generator):
        rng = sentence_rng(seed, batch, 3)
        moments = moments_of(batch, prior, generator, rng=rng)
        noise = normal_noise(rng, moments.mean.expand(DRAWS, *moments.mean.shape))
        f = prior.neg_energy(sample(moments, noise)).mean(0)
        found[rows] = (base_kl(moments).sum(-1) - f).double().cpu() + log_z
    return found


class Simulated(NamedTuple):
    """Sentences drawn from p_θ, and the z (N, D) that each was drawn from."""

    corpus: EncodedCorpus
    z: Tensor


class Bracket(NamedTuple):
    """Bounds on log A(x) in nats, each (n,), and the mean acceptance probability."""

    lower: Tensor
    upper: Tensor
    acceptance: float


@dataclass(frozen=True)
class BracketLikelihood:
    """Mean bounds on log p(x) of simulated sentences, in nats; None if no sentence could be kept."""

    n_sentences: int
    lower: float | None = None
    upper: float | None = None
    gap: Estimate | None = None
    largest_gap: float | None = None
    acceptance: float | None = None

    @classmethod
    def of(cls, found: Bracket, log_z: LogZ) -> BracketLikelihood:
        """Subtract forward or reverse log Z so that each bound remains one."""
        n, lower, upper = len(found.lower), found.lower - log_z.reverse.value, found.upper - log_z.forward.value
        gap = mean_of(upper - lower) if n > 1 else None
        largest = float((upper - lower).max())
        return cls(n, float(lower.mean()), float(upper.mean()), gap, largest, found.acceptance)


def simulate(generator: Generator, z: Tensor, *, eos_id: int, pad_id: int, max_length: int, seed: int) -> Simulated:
    """Draw a sentence from p(x|z) at temperature 1 for each z (N, D).

    Truncated sentences and those with a `<pad>` or `<s>` inside are left out, with their z: since this
    depends only on x, the remaining z are still samples of p(z|x).

    Args:
        generator: p_β(x|z).
        z: (N, D).
        eos_id, pad_id: ids of `</s>` and `<pad>`.
        max_length: in tokens without `</s>`.
        seed: of all draws.
    """
    rng = KeyedRng(seed, range(len(z)))
    decoded = decode(
        generator.step,
        generator.start(z.to(generator.device)),
        len(z),
        DecodeSettings(),
        bos_id=generator.bos_id,
        eos_id=eos_id,
        max_length=max_length,
        uniforms=lambda k: draw_uniform(rng, (len(z), k)),
        device=generator.device,
    )
    odd = {pad_id, generator.bos_id}
    kept = [
        i
        for i, (ids, cut) in enumerate(zip(decoded.ids, decoded.truncated, strict=True))
        if not cut and odd.isdisjoint(ids)
    ]
    return Simulated(EncodedCorpus(*pack((decoded.ids[i] for i in kept), eos_id), pad_id), z[kept])


def bracket(
    prior: Prior,
    generator: Generator,
    simulated: Simulated,
    settings: AISSettings,
    *,
    seed: int,
    on_progress: Progress = silent,
) -> Bracket:
    """Run forward AIS from the base and reverse AIS from the z that generated each sentence, under one schedule.

    Args:
        prior, generator: p_α(z) and p_β(x|z), from which `simulated` was drawn.
        simulated: n sentences, each with its z.
        settings: number of steps and of chains.
        seed: of the chains; sentence i of `simulated` draws from (seed, i).
        on_progress: called with the annealing steps done, summed over sentences.

    Returns:
        Bounds on log A(x) = log p(x) + log Z from below and above, each (n,) in nats.
    """
    corpus, chains = simulated.corpus, settings.n_chains
    low, high = (torch.empty(len(corpus), dtype=torch.float64) for _ in range(2))
    accepted, add = 0.0, adder(on_progress, "bracket", 2 * len(corpus) * settings.n_steps)
    for rows, batch in batches(corpus, np.arange(len(corpus)), max(1, ROWS // chains), generator):
        on_step = partial(add, len(rows))
        rng, likelihood = sentence_rng(seed, batch, 2), generator.likelihood(batch)
        exact = simulated.z[rows].to(next(generator.parameters())).expand(chains, -1, -1)
        terms, schedule, start = annealing(prior, likelihood, torch.zeros_like(exact), settings, rng)
        forward = anneal(terms, start(), schedule, rng=rng, on_step=on_step)
        reverse = anneal(terms, exact, schedule, rng=rng, reverse=True, on_step=on_step)
        low[rows], high[rows] = lower_bound(forward).value.cpu(), upper_bound(reverse).value.cpu()
        accepted += float((forward.acceptance + reverse.acceptance).sum()) / 2
    return Bracket(low, high, accepted / len(corpus))
