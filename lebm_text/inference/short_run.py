r"""Posterior samples by a short Langevin chain.

    z_0 ~ p0 (or where the sentence's last chain ended),  K1 steps on  log p_α(z) + γ log p_β(x|z)

With γ = 1 and noise 1 the chain aims at p_θ(z|x) (Pang et al., NeurIPS 2020, eq. 9). γ > 1 weighs the
likelihood, as a KL weight 1/γ does in a VAE; noise below 1 tempers the posterior. Neither is maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lebm_text.inference.base import InferenceResult
from lebm_text.inference.chain import LangevinChain
from lebm_text.models.base import Generator, LogDensity, Prior
from lebm_text.random import Rng, draw_normal
from lebm_text.text.batching import Batch

__all__ = ["ShortRun"]


@dataclass(frozen=True)
class ShortRun(LangevinChain):
    """Short-run Langevin inference: a chain, and what it aims at.

    Attributes:
        likelihood_weight: γ.
        memory: (N, D) last state of each sentence's chain, for persistent chains; rows are read and written
            by `batch.index`. None: every chain starts from p0.
    """

    likelihood_weight: float = 1.0
    memory: Tensor | None = None

    @property
    def chain(self) -> LangevinChain:
        """This one."""
        return self

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence of the batch, (B, D)."""
        if self.memory is None:
            start = draw_normal(rng, (len(batch.lengths), prior.latent_dim), generator.device)
        else:
            start = self.memory[batch.index].to(generator.device)
        z = self.run(self.target(prior, generator.likelihood(batch)), start, rng=rng)
        if self.memory is not None:
            self.memory[batch.index] = z.to(self.memory.device)
        return InferenceResult(z, start)

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """log p_α(z) + γ log p_β(x|z) up to a constant."""
        return lambda z: prior.logdensity(z) + self.likelihood_weight * likelihood(z)

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        """None: the update of the generator takes z⁺ as given."""
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """The annealed values, and how far the chains went."""
        return {
            "likelihood_weight": self.likelihood_weight,
            "noise_scale": self.noise_scale,
            "move_positive": (result.z - result.start).norm(dim=-1).mean(),
        }
