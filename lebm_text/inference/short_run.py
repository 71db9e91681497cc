r"""Langevin chains with their settings, for sampling a learned prior and, as short runs, the posterior.

    z_0 ~ p0 (or where the sentence's last chain ended),  K1 steps on  log p_α(z) + γ log p_β(x|z)

With γ = 1 and noise 1 the chain targets p_θ(z|x) (Pang et al., NeurIPS 2020, eq. 9). γ > 1 weights the
likelihood, like a KL weight 1/γ in a VAE; noise below 1 tempers the posterior. Neither is maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import captured
from lebm_text.inference.base import InferenceResult
from lebm_text.inference.recorded import StaticDensity, static_chain
from lebm_text.models.base import Batch, Generator, LogDensity, Prior
from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.langevin import gradient, langevin, step_sizes
from lebm_text.text.batching import Batch as Sentences
from lebm_text.text.batching import PaddedBatch
from lebm_text.transfer import send

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LangevinChain", "ShortRun"]

WORTH_CAPTURING = 4  # steps; recording a gradient costs about two


@dataclass(frozen=True)
class LangevinChain:
    """K Langevin steps on any log density.

    Attributes:
        n_steps: K.
        step_size: s, or one per step.
        noise_scale: n, a standard deviation.
    """

    n_steps: int
    step_size: float | Sequence[float]
    noise_scale: float = 1.0

    @property
    def largest_step(self) -> float:
        return max(self.step_size) if isinstance(self.step_size, Sequence) else self.step_size

    @property
    def distance(self) -> float:
        return sum(size**2 for size in step_sizes(self.step_size, self.n_steps)) / 2

    def adapted(self, *, n_steps: int | None = None, noise_scale: float | None = None) -> Self:
        """Return the chain with other settings; the last step size is repeated for additional steps."""
        n_steps, sizes = n_steps or self.n_steps, self.step_size
        if isinstance(sizes, Sequence):
            sizes = [*sizes, *[sizes[-1]] * n_steps][:n_steps]
        noise_scale = self.noise_scale if noise_scale is None else noise_scale
        return replace(self, n_steps=n_steps, step_size=sizes, noise_scale=noise_scale)

    def run(
        self,
        logdensity: LogDensity | StaticDensity,
        z: Tensor,
        *,
        rng: Rng,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Run the chains from z (..., D) and return their final states; see `Chain.run`.

        On CUDA all steps are one recording that is kept, if `logdensity` is static or a module's own and there is no
        callback; otherwise the gradient is recorded for this call.
        """
        if not isinstance(logdensity, StaticDensity) and callback is None:
            logdensity = StaticDensity.of(logdensity, z) or logdensity
        if isinstance(logdensity, StaticDensity):
            sizes = step_sizes(self.step_size, self.n_steps)
            return static_chain(logdensity, z, step_sizes=sizes, noise_scale=self.noise_scale, rng=rng)
        slope = partial(gradient, logdensity)
        return langevin(
            logdensity,
            z,
            step_size=self.step_size,
            n_steps=self.n_steps,
            noise_scale=self.noise_scale,
            rng=rng,
            callback=callback,
            slope=captured(slope, z) if self.n_steps >= WORTH_CAPTURING else slope,
        )


@dataclass(frozen=True)
class ShortRun(LangevinChain):
    """Short-run Langevin inference: a chain and its target.

    Attributes:
        likelihood_weight: γ.
        memory: (N, D) last state of each sentence's chain, for persistent chains; rows are read and written
            at `batch.index`. None: every chain starts from p0.
    """

    likelihood_weight: float = 1.0
    memory: Tensor | None = None
    moments: ClassVar[None] = None

    @property
    def chain(self) -> LangevinChain:
        """This object itself."""
        return self

    def __call__(self, batch: Batch, prior: Prior, generator: Generator, *, rng: Rng) -> InferenceResult:
        """Draw z⁺ for each sentence of the batch, (B, D)."""
        if self.memory is None:
            start = draw_normal(rng, (len(batch.lengths), prior.latent_dim), generator.device)
        else:
            start = send(self.memory[batch.index], generator.device)
        z = self.run(self._posterior(batch, prior, generator, start), start, rng=rng)
        if self.memory is not None:
            self.memory[batch.index] = z.to(self.memory.device)
        return InferenceResult(z, start)

    def _posterior(self, batch: Batch, prior: Prior, generator: Generator, like: Tensor) -> LogDensity | StaticDensity:
        """Return `target` for the batch, on CUDA recorded once for all batches of a shape, if the generator can."""
        padded_likelihood = getattr(generator, "padded_likelihood", None)
        if not isinstance(prior, nn.Module):  # valid for this batch only, as `classes.Given` is
            padded_likelihood = None
        if not (padded_likelihood and isinstance(batch, Sentences) and cuda_graphs.applies(generator.device)):
            return self.target(prior, generator.likelihood(batch))
        padded = batch.padded()
        weight = torch.full((), self.likelihood_weight, dtype=like.dtype, device=like.device)

        def make(tokens: Tensor, lengths: Tensor, weight: Tensor) -> LogDensity:
            tangent = padded_likelihood(PaddedBatch(tokens, lengths)).tangent
            return lambda z: prior.logdensity(z) + weight * tangent(z)

        return StaticDensity((prior, generator), make, (padded.tokens, padded.lengths, weight), len(padded.lengths))

    def target(self, prior: Prior, likelihood: LogDensity) -> LogDensity:
        """Return log p_α(z) + γ log p_β(x|z) up to a constant, as a function of z."""
        return lambda z: prior.logdensity(z) + self.likelihood_weight * likelihood(z)

    def penalty(self, result: InferenceResult, prior: Prior) -> float:
        """Return 0: the generator's update treats z⁺ as given."""
        return 0.0

    def figures(self, result: InferenceResult) -> dict[str, Tensor | float]:
        """Return the annealed values, and how far the chains moved."""
        return {
            "likelihood_weight": self.likelihood_weight,
            "noise_scale": self.noise_scale,
            "move_positive": (result.z - result.start).norm(dim=-1).mean(),
        }
