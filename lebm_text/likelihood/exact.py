"""log p(x) of a language model (D = 0): there is no z to integrate over, so nothing is estimated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from lebm_text.models.base import Generator
from lebm_text.text.batching import EncodedCorpus

from .sentences import ROWS, batches, counter

__all__ = ["exact_log_probs"]


@torch.no_grad()
def exact_log_probs(
    generator: Generator,
    corpus: EncodedCorpus,
    index: NDArray[np.int64],
    on_progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """log p(x) in nats of the sentences in `index`, in that order: (n,).

    `on_progress` is called with the sentences done. Raises ValueError for a generator with a latent vector.
    """
    if generator.latent_dim:
        raise ValueError(f"only without z is log p(x) exact, got latent_dim = {generator.latent_dim}")
    log_probs = np.empty(len(index))
    count = counter(on_progress)
    for rows, batch in batches(corpus, index, ROWS, generator):
        empty = next(generator.parameters()).new_zeros(len(rows), 0)
        log_probs[rows.numpy()] = generator.likelihood(batch)(empty).double().cpu().numpy()
        count(len(rows))
    return log_probs
