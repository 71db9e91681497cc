"""Report on reconstructions: sentences decoded from a posterior draw of z of each given sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group

from lebm_text.checks import one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.generation.settings import DECODERS, DecodeSettings
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.sections import MAX_STEPS
from lebm_text.text.reading import listed
from lebm_text.text.unknown import warn_of_unknown
from lebm_text.torch_state import own_state

from .base import Report, Settings, new_table, origin, settled
from .scores import in_chunks

__all__ = ["Pair", "Reconstruction", "ReconstructionSettings", "compute", "reconstruct_lines"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconstructionSettings(DecodeSettings, Settings):
    """How z is decoded.

    Attributes:
        max_length: maximum number of tokens; None: the model's maximum.
    """

    decode: str = setting("greedy", one_of, DECODERS)
    max_length: int | None = setting(None, whole, 1, MAX_STEPS)


@dataclass(frozen=True)
class Pair:
    """A sentence and its reconstruction, which is None if the sentence is too long for the model."""

    input: str
    reconstruction: str | None


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Report):
    """Sentences with their reconstructions, in the given order."""

    kind: ClassVar[str] = "reconstruction"

    signature: str
    pairs: list[Pair]

    def table(self) -> Group:
        """Return a table of sentences and reconstructions."""
        table = new_table(None, texts=["sentence", "reconstruction"])
        for pair in self.pairs:
            table.add_row(pair.input, pair.reconstruction or "")
        return Group(table)


@own_state(grad=True)
def compute(
    run: Run, sentences: Iterable[str], settings: ReconstructionSettings | None = None, on_progress: Progress = silent
) -> Reconstruction:
    """Decode one posterior draw of each sentence. Raises InputError for a language model or no sentences."""
    settings = settled(settings, ReconstructionSettings, run)
    if not (sentences := list(listed(sentences))):
        raise InputError("there are no sentences to reconstruct; give at least one")
    model = run.model(device=settings.device)
    pairs = list(reconstruct_lines(model, sentences, settings, on_progress))
    length = "" if settings.max_length is None else f",max_length={settings.max_length}"
    what = f"reconstruct(n={len(sentences)},{settings.describe()}{length})"
    return Reconstruction(pairs=pairs, **origin(model, run, what, settings.seed))


def reconstruct_lines(
    model: LatentEBM, lines: Iterable[str], settings: ReconstructionSettings, on_progress: Progress = silent
) -> Iterator[Pair]:
    """Yield the lines of a text with their reconstructions, in order, as soon as they are computed.

    The random numbers of line i depend only on (seed, i). `settings.device` is ignored; `on_progress` is called with
    the number of lines done, if `lines` has a length. Raises InputError for a language model.
    """
    model.config.require_latent()
    model, tokenizer, longest = model.quiet(), model.tokenizer, model.config.text.max_length
    done = n_too_long = 0
    unknown: dict[str, None] = {}
    for chunk in in_chunks(lines):
        fitting = [tokenizer.fits(line, longest) for line in chunk]
        read = [line if fits else "" for line, fits in zip(chunk, fitting, strict=True)]  # lines keep their index
        found = model.reconstruct(read, settings, seed=settings.seed, max_length=settings.max_length, first=done)
        for line, fits, sentence in zip(chunk, fitting, found, strict=True):
            yield Pair(line, sentence if fits else None)
        done += len(chunk)
        n_too_long += fitting.count(False)
        unknown |= dict.fromkeys(word for line in read for word in tokenizer.unknown(line))
        if isinstance(lines, Sized):
            on_progress("reconstructed", done, len(lines))
    warn_of_unknown(tokenizer, unknown)
    if n_too_long:
        logger.warning(f"{n_too_long:,} of {done:,} sentences have no reconstruction: more than {longest:,} tokens")
