r"""Guidance: generate with more or less influence of z than in training.

    logits = logits(null) + w (logits(z) − logits(null))

w = 1 is the generator itself, w > 1 follows z more closely, w = 0 is the language model trained along by z-dropout,
which has learned a null vector that stands for "no z". (Ho and Salimans, 2022, "Classifier-free diffusion
guidance".)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from torch import Tensor

from lebm_text.checks import MAX_GUIDANCE, from_plain, in_range
from lebm_text.errors import InputError
from lebm_text.models.base import Generator, null_latent

from .decoding import DecoderState, Step

__all__ = ["check_guidance", "guided"]


@dataclass(frozen=True)
class GuidedState:
    """The states of the same rows with their z and with the null vector."""

    given: Any
    without: Any

    def select(self, rows: Tensor) -> GuidedState:
        return GuidedState(self.given.select(rows), self.without.select(rows))

    def join(self, other: GuidedState) -> GuidedState:
        return GuidedState(self.given.join(other.given), self.without.join(other.without))


def check_guidance(generator: Generator, weight: float) -> None:
    """Raise InputError for a weight out of range, and for one other than 1 without a null vector."""
    in_range("guidance", from_plain(float, weight, "guidance", strict=True), 0.0, MAX_GUIDANCE)
    if weight != 1 and getattr(generator, "null_latent", None) is None:
        raise InputError(
            "guidance needs a model that has learned to speak without z; train one with model.z_dropout = 0.1"
        )


def guided(generator: Generator, z: Tensor, weight: float) -> tuple[Step[Any], DecoderState]:
    """Return the generator's step and first state for z (n, D) and a weight accepted by `check_guidance`."""
    if weight == 1:
        return generator.step, generator.start(z)

    def step(tokens: Tensor, state: GuidedState) -> tuple[Tensor, GuidedState]:
        logits, given = generator.step(tokens, state.given)
        plain, without = generator.step(tokens, state.without)
        impossible = logits.isneginf() | plain.isneginf()  # such as ids that a decoder does not have
        return (plain + weight * (logits - plain)).masked_fill_(impossible, -inf), GuidedState(given, without)

    return step, GuidedState(generator.start(z), generator.start(null_latent(generator).detach().expand(len(z), -1)))
