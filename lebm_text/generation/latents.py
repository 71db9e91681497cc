r"""Sources of z for generated sentences: the prior, also at another temperature, and others for comparison.

    z ~ p_α(z)^(1/τ):  z_0 ~ N(0, τ I),  z ← z + ½ s² ∇_z log p_α(z) + s n √τ ε,  ε ~ N(0, I)

A Langevin chain whose noise has the standard deviation n samples p^(1/n²), so noise multiplied by √τ samples p^(1/τ);
steps and, unless given, their number are those of the prior's chain. The Gaussian prior is sampled
exactly, from N(0, τ I).

Two more sources are not samplers of the model, but show what a better prior would give: a chain `LONGER` times as long,
and z⁺ of training sentences, whose distribution a perfect prior would have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.build import LatentModel
from lebm_text.checks import MAX_PRIOR_TEMPERATURE, from_plain, in_range, whole
from lebm_text.errors import InputError
from lebm_text.models.base import Generator, Prior
from lebm_text.models.classes import class_of
from lebm_text.random import KeyedRng, draw_normal
from lebm_text.sections import MAX_STEPS

__all__ = ["Latents", "PosteriorLatents", "PriorLatents", "given_latents", "require_finite"]

LONGER = 10  # factor of the number of steps
_SIGNED = re.compile(r"[|,()=\s]")  # separators of a signature


class Latents(Protocol):
    """Draws z for numbered sentences."""

    @property
    def settings(self) -> dict[str, object]:
        """Non-default settings, for the record of the sentences."""

    def describe(self) -> str:
        """Return these settings for a signature, each preceded by a comma."""

    def __call__(self, rows: range, rng: KeyedRng) -> Tensor:
        """Return z (n, D) of the n sentences `rows`; `rng` has their streams."""


@dataclass(frozen=True)
class PriorLatents:
    """z from the prior at the temperature τ, by its chain or, if `long`, by one `LONGER` times as long.

    `n_steps`: steps of the chain, in place of its own number; 0 leaves z at the initial state.
    `label`: draw from p(z|y) of this class of a prior with classes.

    Raises InputError for a temperature out of range, for one other than 1 without z, or with neither a chain nor
    `sample_at(n, rng, temperature)`, which an exactly sampled plug-in prior may have; for steps without a chain,
    and for an unknown label.
    """

    prior: Prior
    generator: Generator
    temperature: float = 1.0
    long: bool = False
    n_steps: int | None = None
    label: str | None = None

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
        if self.long and self.prior.chain is None:
            raise InputError(f"the prior {type(self.prior).__name__} has no chain that could be longer")
        if self.n_steps is not None and (self.long or self.prior.chain is None):
            raise InputError("prior_steps are those of a chain of the prior; it has none, or is to have the long one's")
        if self.label is not None:
            class_of(self.prior, self.label)
        if self.n_steps is not None:
            object.__setattr__(self, "n_steps", whole("prior_steps", self.n_steps, 0, MAX_STEPS))

    @property
    def settings(self) -> dict[str, object]:
        tempered: dict[str, object] = {"prior_temperature": float(self.temperature)} if self.temperature != 1 else {}
        stepped: dict[str, object] = {} if self.n_steps is None else {"prior_steps": self.n_steps}
        labelled: dict[str, object] = {} if self.label is None else {"label": self.label}
        return tempered | stepped | labelled | ({"latents": "long"} if self.long else {})

    def describe(self) -> str:
        tempered = "" if self.temperature == 1 else f",prior_T={self.temperature:g}"
        stepped = "" if self.n_steps is None else f",prior_steps={self.n_steps}"
        labelled = "" if self.label is None else f",label={_SIGNED.sub('_', self.label)}"
        return tempered + stepped + labelled + (f",z=chain-x{LONGER}" if self.long else "")

    def __call__(self, rows: range, rng: KeyedRng) -> Tensor:
        prior = self.prior if self.label is None else class_of(self.prior, self.label)
        n, chain = len(rows), prior.chain
        if self.temperature == 1 and not self.long and self.n_steps is None:
            return prior.sample(n, rng)
        if chain is None:
            z: Tensor = prior.sample_at(n, rng, self.temperature)  # type: ignore[attr-defined]
            return z
        width = math.sqrt(self.temperature)
        start = width * draw_normal(rng, (n, prior.latent_dim), self.generator.device)
        if self.n_steps == 0:
            return start
        n_steps = self.n_steps or chain.n_steps * (LONGER if self.long else 1)
        chain = chain.adapted(n_steps=n_steps, noise_scale=width * chain.noise_scale)
        return chain.run(prior.logdensity, start, rng=rng)


@dataclass(frozen=True)
class PosteriorLatents:
    """z⁺ of given sentences, used cyclically: sentence i gets that of number i.

    Each block of rows is drawn once, however many decodings ask for it: a chain is most of the work.

    Attributes:
        infer: draws them, as `LatentEBM.infer` does.
    """

    infer: Callable[..., Tensor]
    sentences: Sequence[str]
    seed: int
    device: torch.device
    settings: ClassVar[dict[str, object]] = {"latents": "posterior"}
    _drawn: dict[range, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def describe(self) -> str:
        return ",z=posterior(train)"

    def __call__(self, rows: range, rng: KeyedRng) -> Tensor:
        if rows not in self._drawn:
            texts = [self.sentences[row % len(self.sentences)] for row in rows]
            self._drawn[rows] = self.infer(texts, seed=self.seed, first=rows.start)
        return self._drawn[rows].to(self.device)


def given_latents(z: Tensor | NDArray[Any], model: LatentModel, n: int | None = None) -> Tensor:
    """Return a user's z (n, D) on the model's device in the type of its parameters, for `n` sentences (None: any).

    Raises InputError for another shape, and for anything but real, finite numbers.
    """
    if not isinstance(z, (Tensor, np.ndarray)) or isinstance(z, np.ma.MaskedArray):
        raise InputError(f"z must be a tensor or an array, got {type(z).__name__}")
    expected = ((len(z) if z.ndim == 2 else 1) if n is None else n, model.prior.latent_dim)
    if tuple(z.shape) != expected:
        raise InputError(f"z must have shape {expected}, one row per sentence, got {tuple(z.shape)}")
    if z.is_complex() or z.is_quantized if isinstance(z, Tensor) else z.dtype.kind not in "biuf":
        raise InputError(f"z must be real numbers, got {z.dtype}")
    if isinstance(z, Tensor) and (z.layout != torch.strided or z.is_meta):
        raise InputError("z must be a dense tensor with values, got one that is sparse or on the device meta")
    tensor = z if isinstance(z, Tensor) else torch.from_numpy(np.array(z, np.float64, order="C"))
    if not torch.isfinite(tensor := tensor.to(next(model.parameters()))).all():
        raise InputError("z must be finite numbers, got nan, inf or what is inf in float32")
    return tensor


def require_finite(z: Tensor) -> Tensor:
    """Return z. Raises InputError if it is not finite."""
    if not bool(z.isfinite().all()):
        raise InputError(
            "a latent vector is not finite: the training has diverged, or the steps of a chain are too large for the "
            "model"
        )
    return z
