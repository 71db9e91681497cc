"""Which judges there are and how each is trained on a text; nothing is trained or imported before it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lebm_text.errors import InputError

from .base import LanguageModel, TrainingReport
from .kneser_ney import MAX_ORDER, MIN_ORDER, KneserNeySettings
from .lstm_recipe import RECIPES, LSTMRecipe
from .ngram import train_judge
from .texts import Convention, Reference

__all__ = ["JUDGES", "JudgeSpec", "KneserNeySpec", "LSTMSpec", "TrainedJudge", "judge_specs"]

JUDGES = (*(f"kn{order}" for order in range(MIN_ORDER, MAX_ORDER + 1)), "lstm", "both")
logger = logging.getLogger(__name__)

_NGRAM = "kn5"  # of "both", and of conventions that know n-gram judges alone


@dataclass(frozen=True)
class TrainedJudge:
    """A judge, the orders whose discounts could not be estimated, and what its training has to say of itself."""

    model: LanguageModel
    fallback_orders: list[int] = field(default_factory=list)
    training: TrainingReport | None = None


class JudgeSpec(Protocol):
    """A kind of judge, before it has read anything.

    `name` is for tables and `lm` for signatures; `stop` says on what its training stops; `seed` is that of
    its initial weights; both None where there is nothing of the kind. `n_types(V)` is how many types it spreads
    its mass over if the closed vocabulary has V words with `<unk>`. `cheap`: training it again costs seconds.
    """

    @property
    def name(self) -> str: ...
    @property
    def lm(self) -> str: ...
    @property
    def stop(self) -> str | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def cheap(self) -> bool: ...

    def n_types(self, n_words: int) -> int: ...

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """A judge of `sentences`, which `reference.read` gave. Raises InputError for text it cannot learn from."""
        ...


@dataclass(frozen=True)
class KneserNeySpec:
    """Interpolated modified Kneser-Ney of one order; see `lm_eval.kneser_ney`."""

    order: int = 5
    backend: str = "numpy"

    stop = None
    seed = None
    cheap = True

    @property
    def name(self) -> str:
        return f"kn{self.order}"

    @property
    def lm(self) -> str:
        return self.name

    def n_types(self, n_words: int) -> int:
        """The words, `</s>`, and the type of everything that is not in the vocabulary."""
        return n_words + 2

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """As `JudgeSpec.train`."""
        pad = self.n_types(len(reference.vocabulary)) if reference.convention.closed else 0
        options = KneserNeySettings(order=self.order, vocab_pad=pad)
        return TrainedJudge(*train_judge(sentences, options, backend=self.backend))


@dataclass(frozen=True)
class LSTMSpec:
    """An LSTM by one recipe and from one seed; `cache` is a directory for trained ones, `device` torch's name.

    See `lm_eval.lstm`.
    """

    recipe: LSTMRecipe = RECIPES["default"]
    seed: int = 1
    cache: Path | None = None
    device: str = "cpu"

    name = "lstm"
    cheap = False

    @property
    def lm(self) -> str:
        return self.recipe.name

    @property
    def stop(self) -> str:
        return "real-valid" if self.recipe.early_stopping else f"epoch-{self.recipe.max_epochs}"

    def n_types(self, n_words: int) -> int:
        """The words and `</s>`."""
        return n_words + 1

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """As `JudgeSpec.train`, stopped on the real validation text whatever `sentences` are; epochs are logged."""
        from .lstm_training import train_lstm

        judge = train_lstm(
            sentences,
            reference.valid,
            reference.vocabulary,
            recipe=self.recipe,
            seed=self.seed,
            cache=self.cache,
            device=self.device,
            on_progress=logger.info,
        )
        return TrainedJudge(judge, training=judge.report)


def judge_specs(
    lm: str | None, convention: Convention, *, backend: str = "numpy", n_seeds: int = 1, cache: Path | None = None
) -> list[JudgeSpec]:
    """The judges that `lm`, one of `JUDGES`, names; None is the convention's own choice.

    LSTM judges come in `n_seeds` seeds, 1 and up. Raises InputError for a judge that the convention does not
    know, and for seeds where there is no LSTM judge.
    """
    known = convention.judges
    lm = lm or known[0].replace("kn", _NGRAM)
    if lm.rstrip("23456") not in known:
        raise InputError(
            f"the protocol {convention.name} has no judge {lm}, only {', '.join(known)}"
            + ("" if convention.closed else ": an LSTM needs a closed vocabulary")
        )
    orders = [int((_NGRAM if lm == "both" else lm).removeprefix("kn"))] if lm != "lstm" else []
    ngrams: list[JudgeSpec] = [KneserNeySpec(order, backend) for order in orders]
    if lm not in ("lstm", "both"):
        if n_seeds > 1:
            raise InputError(f"{lm} is estimated without chance and has no seeds; they are for the LSTM judge")
        return ngrams
    return [*ngrams, *(LSTMSpec(RECIPES[convention.recipe], seed, cache) for seed in range(1, n_seeds + 1))]
