r"""What the latent vector carries, and how far the chain that generates is from the density that is judged.

    chain gap     E_chain[f] − E_{p_α}[f]        K0 steps from p0, as generation does, against samples of p_α
    active units  Var_x(mean of z_d over M chains) − mean within-variance / M  > 0.01
    encoder KL    KL(q(z|x)‖p_α) = Σ_d KL(q(z_d|x)‖p0(z_d)) − E_q f(z) + log Z(α)

(Burda et al., 2016, for active units, here without an encoder: a mean of M chains still has the noise of M chains,
which is subtracted.) Of an encoder's KL the first term has a closed form, the second is a mean over draws. It is not
the information KL(p(z|x)‖p_α) = E_{p(z|x)}[log p(x|z)] − log p(x), which any model has: q is no posterior.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.inference.encoder import base_kl, sample
from lebm_text.models.base import Generator, Prior
from lebm_text.models.encoder import LSTMEncoder
from lebm_text.samplers.hmc import normal_noise
from lebm_text.text.batching import EncodedCorpus

from .estimates import Estimate, mean_of
from .sentences import ROWS, batches, sentence_rng

__all__ = ["MIN_CHAINS", "THRESHOLD", "chain_gap", "encoder_kl", "unit_variances"]

MIN_CHAINS = 8  # M, below which the within-variance is too uncertain
THRESHOLD = 0.01  # variance of its posterior mean from which a unit counts as active
DRAWS = 64  # of q for each sentence


def chain_gap(f_chain: Tensor, f_long: Tensor) -> Estimate:
    """E_chain[f] − E_{p_α}[f] from independent draws of each, (N,) and (M,)."""
    chain, long = mean_of(f_chain), mean_of(f_long)
    error = (chain.standard_error**2 + long.standard_error**2) ** 0.5
    return Estimate(chain.value - long.value, error)


def unit_variances(z: Tensor) -> Tensor:
    """The variance of each unit's posterior mean over sentences, (D,); active are those above `THRESHOLD`.

    Args:
        z: (M, N, D), draws or averages of M independent chains for each of N sentences.

    Raises:
        ValueError: fewer than 8 chains, or fewer than 2 sentences.
    """
    n_chains, n_sentences, _ = z.shape
    if n_chains < MIN_CHAINS or n_sentences < 2:
        raise ValueError(f"active units need at least {MIN_CHAINS} chains of 2 sentences, got {tuple(z.shape[:2])}")
    z = z.double()
    return z.mean(0).var(0) - z.var(0).mean(0) / n_chains


@torch.no_grad()
def encoder_kl(
    encoder: LSTMEncoder,
    prior: Prior,
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    *,
    log_z: float,
    seed: int,
) -> Tensor:
    """KL(q(z|x)‖p_α) of each sentence in nats, (n,) on the CPU in the order of `index`; `log_z` of the prior."""
    found = torch.empty(len(index), dtype=torch.float64)
    for rows, batch in batches(corpus, index, ROWS, generator):
        moments = encoder(batch)
        noise = normal_noise(sentence_rng(seed, batch, 3), moments.mean.expand(DRAWS, *moments.mean.shape))
        f = prior.neg_energy(sample(moments, noise)).mean(0)
        found[rows] = (base_kl(moments).sum(-1) - f).double().cpu() + log_z
    return found
