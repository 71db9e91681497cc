r"""Where sentences lie in the latent space: the mean of M draws from each posterior.

z̄(x) = 1/M Σ_m z_m,  z_m ~ p(z|x) by short-run inference or q(z|x) by the encoder
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from lebm_text import __version__
from lebm_text.checks import MAX_SEED, whole
from lebm_text.model import LatentEBM, check_sentences
from lebm_text.progress import Progress, counter, keeping, silent
from lebm_text.run import Run
from lebm_text.store import cache_entry, keep_array, kept_array, sha256_file
from lebm_text.text.tokenizers import Tokenizer
from lebm_text.visible import shortened

__all__ = ["kept_posterior_means", "posterior_means", "seed_apart", "shuffled", "warn_of_unknown"]

logger = logging.getLogger(__name__)

_NAMED = 20  # unknown words
PART = 128  # sentences whose means are computed and kept together


def seed_apart(seed: int) -> int:
    """A seed for a second set of draws, to be compared with one from `seed`.

    Two chains of one noise end near each other, whatever they read; sets that share it look more alike than they are.
    """
    return MAX_SEED - seed


def posterior_means(
    model: LatentEBM,
    sentences: Sequence[str],
    *,
    n_draws: int,
    seed: int,
    first: int = 0,
    on_progress: Progress = silent,
) -> Tensor:
    """z̄ of n sentences, (n, D) on the CPU. What sentence i draws depends on (seed, first + i) and n_draws = M alone.

    Raises:
        InputError: as `LatentEBM.infer` does, or n_draws is below 1.
    """
    check_sentences(sentences)
    model.require_fitting(sentences)
    n_draws = whole("n_draws", n_draws, 1)
    repeated = [sentence for sentence in sentences for _ in range(n_draws)]
    on_draw = counter(on_progress, "posterior draws", len(repeated))
    z = model.infer(repeated, seed=seed, first=first * n_draws, on_progress=on_draw)
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
    """`posterior_means` of the run's model, part by part from the user's cache where they were asked for before.

    A longer list that begins with the same sentences, and another call after an interrupt, compute what is new alone.
    Of several parts, `on_first` is given the first as soon as it is there.
    """
    of_run, n = (__version__, sha256_file(run.config_file), run.weights_sha256), len(sentences)
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


def shuffled(n: int, seed: int) -> list[int]:
    """0 … n − 1 in an order that depends on (n, seed) alone."""
    order: list[int] = np.random.Generator(np.random.PCG64(seed)).permutation(n).tolist()
    return order


def warn_of_unknown(tokenizer: Tokenizer, sentences: Iterable[str]) -> None:
    """Warn of the words of given sentences that the model does not know, and of those it knows in lower case."""
    words = list(dict.fromkeys(word for sentence in sentences for word in tokenizer.unknown(sentence)))
    if not words:
        return
    lower = [word.lower() for word in words if word != word.lower() and not tokenizer.unknown(word.lower())]
    known = f"; in lower case known: {_listed(lower)}" if lower else ""
    logger.warning(f"not in the vocabulary, read as <unk>: {_listed(words)}{known}")


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
    return ", ".join(map(shortened, words[:_NAMED])) + more
