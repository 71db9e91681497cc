r"""Where the z of generated sentences come from: the prior, also at another temperature.

    z ~ p_α(z)^(1/τ):  z_0 ~ N(0, τ I),  z ← z + ½ s² ∇_z log p_α(z) + s n √τ ε,  ε ~ N(0, I)

A Langevin chain whose noise has the standard deviation n samples p^(1/n²), so that noise times √τ samples p^(1/τ); its
steps and their number are those of the prior's chain. The Gaussian prior is drawn exactly, from N(0, τ I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lebm_text.checks import MAX_PRIOR_TEMPERATURE, from_plain, in_range
from lebm_text.errors import InputError
from lebm_text.models.base import Generator, Prior
from lebm_text.random import KeyedRng, draw_normal

__all__ = ["Latents", "PriorLatents"]


class Latents(Protocol):
    """Draws of z for numbered sentences."""

    @property
    def settings(self) -> dict[str, object]:
        """What is not as usual, for the record of the sentences."""

    def describe(self) -> str:
        """The same for their signature, each with a comma in front."""

    def __call__(self, rows: range, rng: KeyedRng) -> Tensor:
        """z (n, D) of the n sentences `rows`; `rng` has their streams."""


@dataclass(frozen=True)
class PriorLatents:
    """z from the prior at the temperature τ.

    Raises InputError for a temperature out of range, and for another than 1 where there is no z, or no chain and no
    `sample_at(n, rng, temperature)`, as an exactly sampled prior of your own may have it.
    """

    prior: Prior
    generator: Generator
    temperature: float = 1.0

    def __post_init__(self) -> None:
        temperature = from_plain(float, self.temperature, "prior_temperature", strict=True)
        in_range("prior_temperature", temperature, 0.0, MAX_PRIOR_TEMPERATURE, open_start=True)
        if temperature != 1 and self.prior.latent_dim == 0:
            raise InputError("prior_temperature is for models with a latent vector; this is a language model")
        if temperature != 1 and self.prior.chain is None and not hasattr(self.prior, "sample_at"):
            raise InputError(
                f"the prior {type(self.prior).__name__} has neither a chain nor sample_at(n, rng, temperature): "
                "it can be sampled at prior_temperature 1 alone"
            )

    @property
    def settings(self) -> dict[str, object]:
        return {} if self.temperature == 1 else {"prior_temperature": float(self.temperature)}

    def describe(self) -> str:
        return "" if self.temperature == 1 else f",prior_T={self.temperature:g}"

    def __call__(self, rows: range, rng: KeyedRng) -> Tensor:
        n, prior, chain = len(rows), self.prior, self.prior.chain
        if self.temperature == 1:
            return prior.sample(n, rng)
        if chain is None:
            z: Tensor = prior.sample_at(n, rng, self.temperature)  # type: ignore[attr-defined]
            return z
        width = math.sqrt(self.temperature)
        start = width * draw_normal(rng, (n, prior.latent_dim), self.generator.device)
        return chain.adapted(noise_scale=width * chain.noise_scale).run(prior.logdensity, start, rng=rng)
