r"""log p(x) between two bounds, for sentences of the model's own (bidirectional Monte Carlo: Grosse et al., 2015).

    z* ~ p_α,  x ~ p(x|z*)   ⇒   z* is a sample of p(z|x), from which AIS can run in reverse

On real text no exact posterior sample is known, hence no upper bound. How far the bounds lie apart here says how tight
the lower one is likely to be there, for sentences like the model's.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lebm_text.generation.decoding import DecodeSettings, decode
from lebm_text.models.base import Generator, Prior
from lebm_text.progress import Progress, adder, silent
from lebm_text.random import KeyedRng, draw_uniform
from lebm_text.samplers.ais import anneal, lower_bound, upper_bound
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.encoding import pack

from .sentences import ROWS, AISSettings, annealing, batches, sentence_rng

__all__ = ["Bracket", "Simulated", "bracket", "simulate"]


class Simulated(NamedTuple):
    """Sentences drawn from p_θ, and the z (N, D) that each of them came from."""

    corpus: EncodedCorpus
    z: Tensor


class Bracket(NamedTuple):
    """Bounds on log A(x) in nats and their standard errors, each (n,), and the mean acceptance probability."""

    lower: Tensor
    upper: Tensor
    lower_error: Tensor
    upper_error: Tensor
    acceptance: float


def simulate(generator: Generator, z: Tensor, *, eos_id: int, pad_id: int, max_length: int, seed: int) -> Simulated:
    """Draw a sentence from p(x|z) at temperature 1 for each z (N, D).

    Sentences that `max_length` truncates and those with a `<pad>` or `<s>` inside are left out, with their z: whether x
    is left out depends on x alone, so that the z of the others are still samples of p(z|x).
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
    """Forward AIS from the base and reverse AIS from the z that wrote each sentence, under one schedule."""
    corpus, chains = simulated.corpus, settings.n_chains
    figures = torch.empty(4, len(corpus), dtype=torch.float64)
    accepted, add = 0.0, adder(on_progress, "bracket", 2 * len(corpus) * settings.n_steps)
    for rows, batch in batches(corpus, np.arange(len(corpus)), max(1, ROWS // chains), generator):
        on_step = partial(add, len(rows))
        rng, likelihood = sentence_rng(seed, batch, 2), generator.likelihood(batch)
        exact = simulated.z[rows].to(next(generator.parameters())).expand(chains, -1, -1)
        terms, schedule, start = annealing(prior, likelihood, torch.zeros_like(exact), settings, rng)
        forward = anneal(terms, start(), schedule, rng=rng, on_step=on_step)
        reverse = anneal(terms, exact, schedule, rng=rng, reverse=True, on_step=on_step)
        lower, upper = lower_bound(forward), upper_bound(reverse)
        columns = (lower.value, upper.value, lower.standard_error, upper.standard_error)
        figures[:, rows] = torch.stack([column.cpu() for column in columns])
        accepted += float((forward.acceptance + reverse.acceptance).sum()) / 2
    low, high, low_error, high_error = figures
    return Bracket(low, high, low_error, high_error, accepted / len(corpus))
