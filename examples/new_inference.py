r"""A plug-in inference method in one file, trained and loaded again: one of several draws from the prior.

    z_1, …, z_M ~ p(z),  z⁺ = z_m with probability p(x|z_m) / Σ_k p(x|z_k)

For M → ∞ this is the posterior; with few draws z⁺ is closer to the prior. (Rubin, 1988, "Using the SIR
algorithm to simulate posterior distributions".) Inference has the members of `lebm_text.inference.base.Inference`; its
constructor takes any of epoch and encoder, and all of its own `Settings`. If the class has an attribute
`Encoder`, a subclass of torch.nn.Module, an instance is made and trained along with the generator.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny_text import write
from torch import Tensor

from lebm_text import LatentEBM, train
from lebm_text.checks import in_range, setting
from lebm_text.inference.base import InferenceResult
from lebm_text.models.base import Batch, Generator, LogDensity, Prior
from lebm_text.random import Rng, draw_normal
from lebm_text.sections import InferenceConfig


@dataclass(frozen=True)
class ResamplingSettings(InferenceConfig):
    n_draws: int = setting(16, in_range, 1, 10_000)  # M


class Resampling:
    Settings = ResamplingSettings
    chain = moments = None

    def __init__(self, n_draws: int) -> None:
        self.n_draws = n_draws

    @torch.no_grad()
    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        rows = len(batch.lengths)
        draws = torch.stack([prior.sample(rows, rng) for _ in range(self.n_draws)])  # (M, B, D)
        log_likelihood = generator.likelihood(batch)(draws)
        # Adding Gumbel noise to log-weights and taking the largest samples in proportion to the weights.
        uniform = torch.special.ndtr(draw_normal(rng, (rows, self.n_draws), draws.device)).clamp(1e-7, 1 - 1e-7)
        chosen = (log_likelihood - (-uniform.T.log()).log()).argmax(0)
        return InferenceResult(draws[chosen, torch.arange(rows, device=draws.device)], draws[0])

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        return lambda z: prior.logdensity(z) + likelihood(z)

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        return {"move_positive": (result.z - result.start).norm(dim=-1).mean()}


SETTINGS = {
    "model": {"prior": "gaussian", "latent_dim": 4, "embedding_dim": 32, "hidden_dim": 32},
    "inference": {"kind": "new_inference:Resampling", "n_draws": 8},
    "training": {"n_epochs": 3, "batch_size": 32, "learning_rate": 0.01, "n_threads": 1},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        run = train(write(Path(name) / "text"), out=Path(name) / "run", overrides=SETTINGS, device="cpu")
        # The reader of a run decides whether its code may be imported.
        model = LatentEBM.from_pretrained(run.path, device="cpu", trust_plugins=True)
        print(model)
        print(*model.reconstruct(["the old cat sees a dog .", "a king hears the bird ."]), sep="\n")


if __name__ == "__main__":
    main()
