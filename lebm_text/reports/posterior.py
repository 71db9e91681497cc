r"""Where sentences lie in the latent space: the mean of M draws from each posterior.

z̄(x) = 1/M Σ_m z_m,  z_m ~ p(z|x) by short-run inference or q(z|x) by the encoder
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.run import Run

__all__ = ["posterior_means", "require_latent", "seed_apart", "shuffled", "that_fit"]

_LARGEST_SEED = 2**63 - 1  # that torch takes


def require_latent(run: Run) -> None:
    """Raise InputError for a language model, which has no z."""
    if run.config.model.latent_dim == 0:
        raise InputError(f"{run} is a language model (model.latent_dim = 0): it has no latent space to look into")


def seed_apart(seed: int) -> int:
    """A seed for a second set of draws, to be compared with one from `seed`.

    Two chains of one noise end near each other, whatever they read; sets that share it look more alike than they are.
    """
    return _LARGEST_SEED - seed


def posterior_means(
    model: LatentEBM,
    sentences: Sequence[str],
    *,
    n_draws: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
) -> Tensor:
    """(n, D) on the CPU. What sentence i draws depends on (seed, i) and n_draws alone.

    Args:
        n_draws: M.
        on_progress: called with the number of draws done, n·M at the end.

    Raises InputError as `LatentEBM.infer` does.
    """
    repeated = [sentence for sentence in sentences for _ in range(n_draws)]
    z = model.infer(repeated, seed=seed, on_progress=on_progress)
    return z.view(len(sentences), n_draws, z.shape[1]).mean(1)


def that_fit(model: LatentEBM, sentences: Iterable[str]) -> list[str]:
    """The sentences that are not longer than the model's greatest length, in order."""
    longest = model.config.text.max_length
    return [sentence for sentence in sentences if len(model.tokenizer.encode(sentence)) <= longest]


def shuffled(n: int, seed: int) -> list[int]:
    """0 … n − 1 in an order that depends on (n, seed) alone."""
    order: list[int] = np.random.Generator(np.random.PCG64(seed)).permutation(n).tolist()
    return order
