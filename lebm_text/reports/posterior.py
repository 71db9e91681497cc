r"""Posterior means of sentences, estimated by M posterior draws.

z̄(x) = 1/M Σ_m z_m,  z_m ~ p(z|x) by short-run inference or q(z|x) by the encoder
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lebm_text.checks import MAX_SEED, whole
from lebm_text.environment import code_sha256
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, counter, keeping, silent
from lebm_text.run import Run
from lebm_text.store import cache_entry, keep_array, kept_array, sha256_file

__all__ = ["kept_posterior_means", "posterior_means", "seed_apart", "shuffled"]

T = TypeVar("T")

PART = 128  # sentences per cache entry


def seed_apart(seed: int) -> int:
    """Return a different seed, for a second set of draws that is compared with draws from `seed`.

    Chains with the same noise end near each other whatever their sentence, so that sets with the same seed would look
    too similar.
    """
    return MAX_SEED - seed


def posterior_means(
    model: LatentEBM,
    sentences: Iterable[str],
    *,
    n_draws: int,
    seed: int,
    first: int = 0,
    on_progress: Progress = silent,
) -> Tensor:
    """Return z̄ of n sentences, (n, D) on the CPU.

    Args:
        model: with a latent vector.
        sentences: must not be too long for the model.
        n_draws: M, draws per sentence.
        seed: the draws for sentence i depend only on (seed, first + i, M) and the sentence.
        first: index of the first sentence.
        on_progress: called with the progress.

    Raises:
        InputError: as raised by `LatentEBM.infer`, or n_draws is less than 1.
    """
    sentences = model.require_fitting(sentences)
    n_draws = whole("n_draws", n_draws, 1)
    repeated = [sentence for sentence in sentences for _ in range(n_draws)]
    on_draw = counter(on_progress, "posterior draws", len(repeated))
    z = model.quiet().infer(repeated, seed=seed, first=first * n_draws, on_progress=on_draw)
    return z.view(len(sentences), n_draws, z.shape[1]).mean(1)


def kept_posterior_means(
    run: Run,
    model: LatentEBM,
    sentences: Sequence[str],
    *,
    n_draws: int,
    seed: int,
    on_progress: Progress = silent,
    on_first: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Return `posterior_means` of the run's model, and keep them in the user's cache, part by part.

    For a longer list that begins with the same sentences, or after an interrupt, only missing parts are computed. If
    there are several parts, `on_first` is called with the means of the first part as soon as they are computed.
    """
    of_run, n = (code_sha256(), sha256_file(run.config_file), run.weights_sha256), len(sentences)
    found: list[Tensor] = []
    with keeping(lambda: f"the places of {sum(map(len, found)):,} of {n:,} sentences are in the cache"):
        for start in range(0, n, PART):
            part = list(sentences[start : start + PART])
            entry = cache_entry("latents", *of_run, n_draws, seed, start, part)
            if (stored := kept_array(entry)) is not None:
                means = torch.from_numpy(stored)
            else:
                means = posterior_means(model, part, n_draws=n_draws, seed=seed, first=start)
                keep_array(entry, means.numpy())
            found.append(means)
            if on_first is not None and start == 0 and len(part) < n:
                on_first(means)
            on_progress("places of sentences", start + len(part), n)
    return torch.cat(found)


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """Return the items in a random order, which depends only on their number and the seed."""
    return [items[i] for i in np.random.Generator(np.random.PCG64(seed)).permutation(len(items))]
