"""Sentences to the latent space and back: z from the posterior of each, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group

from lebm_text.checks import one_of, setting, whole
from lebm_text.generation.settings import DECODERS, DecodeSettings
from lebm_text.progress import Progress, counter, silent
from lebm_text.run import Run
from lebm_text.sections import MAX_STEPS

from .base import Report, Settings, new_table, origin

__all__ = ["Pair", "Reconstruction", "ReconstructionSettings", "compute"]


@dataclass(frozen=True)
class ReconstructionSettings(DecodeSettings, Settings):
    """How z is decoded, and at most how many tokens long; None: as long as the model's sentences may be."""

    decode: str = setting("greedy", one_of, DECODERS)
    max_length: int | None = setting(None, whole, 1, MAX_STEPS)


@dataclass(frozen=True)
class Pair:
    """A sentence and what came of it."""

    input: str
    reconstruction: str


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Report):
    """Sentences beside their reconstructions, in the order given."""

    kind: ClassVar[str] = "reconstruction"

    signature: str
    pairs: list[Pair]

    def table(self) -> Group:
        """Each sentence and its reconstruction."""
        table = new_table(None, texts=["sentence", "reconstruction"])
        for pair in self.pairs:
            table.add_row(pair.input, pair.reconstruction)
        return Group(table)


def compute(
    run: Run, sentences: Sequence[str], settings: ReconstructionSettings | None = None, on_progress: Progress = silent
) -> Reconstruction:
    """One posterior draw of each sentence, decoded.

    Raises:
        InputError: a language model, or a sentence that is too long.
    """
    settings = settings or ReconstructionSettings()
    seed, max_length = settings.seed, settings.max_length
    model = run.model(device=settings.device)
    on_sentence = counter(on_progress, "reconstructed", len(sentences))
    found = model.reconstruct(sentences, settings, seed=seed, max_length=max_length, on_progress=on_sentence)
    what = f"reconstruct(n={len(sentences)},{settings.describe()})"
    return Reconstruction(pairs=list(map(Pair, sentences, found)), **origin(model, run, what, seed))
