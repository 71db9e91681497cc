r"""A plug-in prior in one file: train, generate, load and judge.

    p(z) = 1/K Σ_k N(z; m_k, I)

A prior has the members of `lebm_text.models.base.Prior`; its constructor takes any of latent_dim, hidden_dim
(model.prior_hidden_dim), energy_bound, init_range, chain (the Langevin chain of the section prior) and rng, and all of
its own `Settings`, set as in `prior.n_parts=7`.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_text import write
from torch import Tensor, nn

from lebm_text import LatentEBM, train
from lebm_text.checks import in_range, setting
from lebm_text.models.priors import base_log_prob
from lebm_text.random import Rng, draw_normal, draw_uniform
from lebm_text.sections import PriorConfig
from lm_eval import fppl, rppl


@dataclass(frozen=True)
class MixtureSettings(PriorConfig):
    """Settings of the section prior in addition to those of the chain."""

    n_parts: int = setting(5, in_range, 1, 1000)  # K


class MixturePrior(nn.Module):
    """Normalised and sampled exactly, so it needs no chain; its means are trained because they are parameters."""

    Settings = MixtureSettings
    chain = None

    def __init__(self, latent_dim: int, *, rng: torch.Generator, n_parts: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.means = nn.Parameter(torch.randn(n_parts, latent_dim, generator=rng))

    def logdensity(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, (..., D) → (...)."""
        return base_log_prob(z.unsqueeze(-2) - self.means).logsumexp(-1) - math.log(len(self.means))

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z) = log p(z) − log N(z; 0, I)."""
        return self.logdensity(z) - base_log_prob(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Draw a component for each z, then z around its mean."""
        device = self.means.device
        part = (draw_uniform(rng, (n,), device) * len(self.means)).long()
        return self.means[part] + draw_normal(rng, (n, self.latent_dim), device)

    def log_z(self) -> float:
        """Return 0: the density is normalised."""
        return 0.0


SETTINGS = {
    "model": {"prior": "new_prior:MixturePrior", "latent_dim": 8, "embedding_dim": 32, "hidden_dim": 32},
    "prior": {"n_parts": 7},
    "inference": {"n_steps": 5},
    "training": {"n_epochs": 4, "batch_size": 32, "learning_rate": 0.01, "prior_learning_rate": 0.01, "n_threads": 1},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        run = train(write(Path(name) / "text"), out=Path(name) / "run", overrides=SETTINGS, device="cpu")
        # The reader of a run decides whether its code may be imported.
        model = LatentEBM.from_pretrained(run.path, device="cpu", trust_plugins=True)
        samples = model.generate(300).sentences
        real = {split: list(text.sentences()) for split, text in run.corpus().splits.items()}
        print(model)
        print(*samples[:5], sep="\n")
        print(f"FPPL {fppl(samples, real['train']).ppl:.2f}, RPPL {rppl(samples, real['test']).ppl:.2f}")


if __name__ == "__main__":
    main()
