r"""KL(q(z|x) ‖ p_α) of an encoder, sentence by sentence.

    KL(q‖p_α) = Σ_d KL(q(z_d|x) ‖ p0(z_d)) − E_q f(z) + log Z(α)

The first term has a closed form, the second is a mean over draws. Not the information of `lebm-text likelihood`,
KL(p(z|x) ‖ p_α), which any model has: q is no posterior.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.inference.amortized import base_kl, sample
from lebm_text.models.base import Generator, Prior
from lebm_text.models.encoder import LSTMEncoder
from lebm_text.samplers.hmc import normal_noise
from lebm_text.text.batching import EncodedCorpus

from .sentences import ROWS, batches, keyed

__all__ = ["encoder_kl"]

DRAWS = 64  # of q for each sentence


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
    """In nats, (n,) on the CPU in the order of `index`; `log_z` of the prior."""
    found = torch.empty(len(index), dtype=torch.float64)
    for rows, batch in batches(corpus, index, ROWS, generator):
        moments = encoder(batch)
        noise = normal_noise(keyed(seed, batch, 3), moments.mean.expand(DRAWS, *moments.mean.shape))
        f = prior.neg_energy(sample(moments, noise)).mean(0)
        found[rows] = (base_kl(moments).sum(-1) - f).double().cpu() + log_z
    return found
