"""Langevin dynamics with its settings: what draws z from a learned prior, and from a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from lebm_text.models.base import LogDensity
from lebm_text.models.graphs import captured
from lebm_text.random import Rng
from lebm_text.samplers.langevin import gradient, langevin

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LangevinChain"]

WORTH_CAPTURING = 4  # steps; recording a CUDA graph costs about two


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

    def adapted(self, *, n_steps: int | None = None, noise_scale: float | None = None) -> Self:
        """The same with other settings; the last step size holds for steps beyond."""
        n_steps, sizes = n_steps or self.n_steps, self.step_size
        if isinstance(sizes, Sequence):
            sizes = [*sizes, *[sizes[-1]] * n_steps][:n_steps]
        noise_scale = self.noise_scale if noise_scale is None else noise_scale
        return replace(self, n_steps=n_steps, step_size=sizes, noise_scale=noise_scale)

    def run(
        self,
        logdensity: LogDensity,
        z: Tensor,
        *,
        rng: Rng,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Where the chains that begin at z (..., D) end; on CUDA their gradient is a recorded graph."""
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
        ).z
