"""Plug-in judges: dataclasses with the members of `JudgeSpec` whose fields are settings; their output is checked.

--lm my_package.module:Bigram,weight=0.7

One with a method `placed(device, on_progress)` is replaced by what it returns; `device` is torch's name of it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lebm_text.errors import InputError
from lebm_text.plugins import called, is_named, made, made_with
from lebm_text.progress import Progress
from lebm_text.text.reading import split_words

from .judges import JudgeSpec, LanguageModel, TrainedJudge
from .perplexity import SentenceScores
from .texts import Reference

__all__ = ["PluggedSpec", "is_plugged", "plugged_spec"]

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def is_plugged(lm: object) -> bool:
    """Return whether this names a plug-in judge, with its settings or without."""
    return isinstance(lm, str) and is_named("judge", lm.partition(",")[0])


def plugged_spec(lm: str) -> PluggedSpec:
    """Return the plug-in judge for `NAME` or `NAME,key=value`; naming it means trusting it.

    Raises:
        InputError: it cannot be found, lacks a member or a setting, or its name is not usable in a file name.
    """
    name = lm.partition(",")[0]
    spec, plugin = made_with("judge", lm, JudgeSpec, trust_plugins=True)
    for what, value in (("name", spec.name), ("lm", spec.lm)):
        if not _NAME.fullmatch(str(value)):
            raise InputError(f"judge = {name}: its {what} must be letters, digits and . _ + -, got {value!r}")
    return PluggedSpec(f"judge = {name}", spec, plugin.origin[1])


@dataclass(frozen=True)
class PluggedSpec:
    """A plug-in `spec`, called `named` in messages; the version of its package is part of signatures."""

    named: str
    spec: JudgeSpec
    version: str | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def lm(self) -> str:
        return self.spec.lm + (f"@{self.version}" if self.version else "")

    file_name = lm

    @property
    def stop(self) -> str | None:
        return self.spec.stop

    @property
    def seed(self) -> int | None:
        return self.spec.seed

    @property
    def n_more(self) -> int:
        return self.spec.n_more

    @property
    def cheap(self) -> bool:
        return self.spec.cheap

    def key(self) -> None:
        """Return None: whatever changes its figures is part of `lm`."""

    def placed(self, device: Callable[[], str], on_progress: Progress) -> PluggedSpec:
        """Return the judge on that device, as `BuiltSpec.placed` does, if it has such a method."""
        place = getattr(self.spec, "placed", None)
        if place is None:
            return self
        return replace(self, spec=made(f"{self.named}: placed", lambda: place(device(), on_progress), JudgeSpec))

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """Train as `JudgeSpec.train` does."""
        trained = called(f"{self.named}: train", lambda: self.spec.train(sentences, reference))
        if not isinstance(trained, TrainedJudge):
            raise InputError(f"{self.named}: train must give a TrainedJudge, got {type(trained).__name__}")
        return replace(trained, model=_CheckedModel(self.named, trained.model))


@dataclass(frozen=True)
class _CheckedModel:
    """A model whose scores are checked."""

    named: str
    model: LanguageModel

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score as `LanguageModel.score` does.

        Raises:
            InputError: scores of a wrong shape, that are not negative log-probabilities or give two sentences the
                probability 1, that count other tokens, or of which a part is larger than the whole.
        """
        lines = list(sentences)
        scores = called(f"{self.named}: score", lambda: self.model.score(lines))
        if not isinstance(scores, SentenceScores):
            raise InputError(f"{self.named}: score must give a SentenceScores, got {type(scores).__name__}")
        checked = {}
        for field in dataclasses.fields(scores):
            values = called(f"{self.named}: {field.name}", partial(np.array, getattr(scores, field.name), float))
            if values.shape != (len(lines),):
                raise InputError(f"{self.named}: {field.name} must have the shape {(len(lines),)}, got {values.shape}")
            # A rounding error below 0 is not the judge's fault; infinity would be a perplexity of infinity.
            if (odd := np.flatnonzero(~np.isfinite(values) | (values < -1e-6))).size:
                which = f"{field.name} of sentence {odd[0] + 1}"
                raise InputError(f"{self.named}: {which} must be finite and not below 0, got {values[odd[0]]}")
            checked[field.name] = values
        for part, whole in (("nll_oov", "nll"), ("nll_eos", "nll"), ("n_oov", "n_tokens")):
            if (odd := np.flatnonzero(checked[part] > 1.0001 * checked[whole] + 1e-6)).size:  # by more than rounding
                raise InputError(
                    f"{self.named}: {part} of sentence {odd[0] + 1} must be part of its {whole}, "
                    f"{checked[whole][odd[0]]:g}, got {checked[part][odd[0]]:g}"
                )
        if len(set(lines)) > 1 and (checked["nll"] < 1e-6).all():
            raise InputError(f"{self.named}: nll is 0 for all sentences: not all of them can have the probability 1")
        wanted = np.array([len(split_words(line)) + 1 for line in lines])
        if (odd := np.flatnonzero(checked["n_tokens"] != wanted)).size:
            first = int(odd[0])
            raise InputError(
                f"{self.named}: sentence {first + 1} has {wanted[first]} tokens, </s> counted, and not "
                f"{checked['n_tokens'][first]:g}"
            )
        counts = {name: checked[name].astype(np.int64) for name in ("n_tokens", "n_oov")}
        return SentenceScores(**{**checked, **counts})
