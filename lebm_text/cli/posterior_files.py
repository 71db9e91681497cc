"""Posterior means that are kept in the cache, under a key of everything that they depend on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text import __version__
from lebm_text.store import atomic_write_bytes, sha256_file
from lebm_text.text.storing import cache_directory

from .sampling import progress

if TYPE_CHECKING:
    from torch import Tensor

    from lebm_text.model import LatentEBM

__all__ = ["kept_posterior_means"]


def kept_posterior_means(
    model: LatentEBM, run: Path, sentences: Sequence[str], *, n_draws: int, seed: int, quiet: bool
) -> Tensor:
    """`posterior_means` of a run's model, (n, D): read from the cache if the same were asked for before."""
    import numpy as np
    import torch

    from lebm_text.reports.posterior import posterior_means

    shape = (len(sentences), model.config.model.latent_dim)
    path = cache_directory() / "latents" / f"{_key(run, sentences, n_draws, seed)}.npy"
    try:
        means = np.load(path, allow_pickle=False)
        if means.shape == shape:
            return torch.from_numpy(means)
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged
    with progress(n_draws * len(sentences), "posterior draws", quiet=quiet) as say:
        found = posterior_means(model, sentences, n_draws=n_draws, seed=seed, on_progress=say)
    stream = io.BytesIO()
    np.save(stream, found.numpy(), allow_pickle=False)
    with suppress(OSError):  # a cache that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, stream.getvalue())
    return found


def _key(run: Path, sentences: Sequence[str], n_draws: int, seed: int) -> str:
    digest = hashlib.sha256(f"{__version__}\n".encode())
    for name in ("config.json", "model.safetensors"):
        digest.update(sha256_file(run / name).encode())
    digest.update(f"{n_draws} {seed} {len(sentences)}\n".encode())
    for sentence in sentences:
        digest.update(f"{sentence}\n".encode())
    return digest.hexdigest()
