"""The available judges and all their training settings; nothing is trained or imported before it is needed.

A judge reads sentences and gives negative log-likelihoods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from lebm_text.errors import InputError
from lebm_text.progress import Progress, silent

from .kneser_ney import MAX_ORDER, MIN_ORDER, KneserNeySettings
from .ngram import train_judge
from .perplexity import SentenceScores
from .texts import Convention, Reference

__all__ = ["JUDGES", "RECIPES", "BuiltSpec", "JudgeSpec", "KneserNeySpec", "LSTMRecipe", "LSTMSpec", "LanguageModel"]
__all__ += ["TrainedJudge", "TrainingReport", "judge_specs"]

JUDGES = (*(f"kn{order}" for order in range(MIN_ORDER, MAX_ORDER + 1)), "lstm", "both")
_NGRAM = "kn5"  # n-gram judge of "both", and of conventions that allow only n-gram judges


class LanguageModel(Protocol):
    """A trained judge."""

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score every sentence. Raises InputError, with the line number, for text that cannot be scored."""
        ...


@dataclass(frozen=True)
class TrainingReport:
    """Training report of a judge that is trained in epochs.

    Attributes:
        seconds: duration of the training.
        valid_ppl: perplexity of the validation text.
        precision: of the training's matrix products.
        cached: whether the judge was trained earlier and loaded from the cache.
    """

    n_epochs: int
    best_epoch: int
    seconds: float
    valid_ppl: float
    precision: str
    cached: bool = False


@dataclass(frozen=True)
class TrainedJudge:
    """A judge, the orders whose discounts could not be estimated, and its training report if it has epochs."""

    model: LanguageModel
    fallback_orders: list[int] = field(default_factory=list)
    training: TrainingReport | None = None


class JudgeSpec(Protocol):
    """A kind of judge, before training.

    `name` is for tables and `lm` for signatures; `stop` is the text that its training stops on and `seed` that of
    its initial weights, None where there is none. `n_more` is the number of types it spreads its mass
    over in addition to the V words, with `<unk>`, of a closed vocabulary. `cheap`: training takes seconds.
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
    def n_more(self) -> int: ...
    @property
    def cheap(self) -> bool: ...

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """Train on `sentences`, as returned by `reference.read`. Raises InputError for text it cannot learn from."""
        ...


class BuiltSpec(JudgeSpec, Protocol):
    """A kind of judge as `judge_specs` returns it.

    `file_name` is the part of report names that identifies it.
    """

    @property
    def file_name(self) -> str: ...

    def key(self) -> dict[str, Any] | None:
        """Return whatever changes its figures besides the settings that name it; None if nothing does."""
        ...

    def placed(self, device: Callable[[], str], on_progress: Progress) -> BuiltSpec:
        """Return the same judge on torch's `device`, reporting the progress of its training.

        `device` is a function, so that only judges that need torch import it.
        """
        ...


@dataclass(frozen=True)
class KneserNeySpec:
    """Interpolated modified Kneser-Ney of one order; see `lm_eval.kneser_ney`."""

    order: int = 5
    backend: str = "numpy"

    stop = seed = None
    n_more = 2  # `</s>`, and the type of everything that is not in the vocabulary
    cheap = True

    @property
    def name(self) -> str:
        return f"kn{self.order}"

    lm = file_name = name

    def key(self) -> None:
        """Return None: the order is part of the name."""

    def placed(self, device: Callable[[], str], on_progress: Progress) -> KneserNeySpec:
        """Return the judge itself: it is quick and needs no device."""
        return self

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """Train as `JudgeSpec.train` does."""
        pad = len(reference.vocabulary) + self.n_more if reference.convention.closed else 0
        return TrainedJudge(*train_judge(sentences, KneserNeySettings(self.order, vocab_pad=pad), backend=self.backend))


@dataclass(frozen=True)
class LSTMRecipe:
    """Sizes, regularisation and training schedule of a one-layer LSTM; see `lstm` and `lstm_training`.

    Attributes:
        name: for signatures, `lm:<name>`.
        embedding_dim, hidden_dim: E, H.
        tied: the output weights are the embeddings (E = H).
        shortlist: number of words in the first level of a two-level softmax; None: one level.
        input_dropout, output_dropout: rates on the embeddings and on the LSTM's outputs.
        learning_rate: of Adam (default betas).
        clip_norm: maximum norm of the gradient.
        batch_tokens, batch_size: maximum tokens and sentences of a batch; sentences are batched by length.
        max_epochs: maximum number of epochs.
        early_stopping: the learning rate is multiplied by `decay` whenever an epoch lowers the best validation
            perplexity by less than the share `min_gain`; after an epoch that does not lower it at all, training
            continues from the best one. The epoch that would exceed `n_decays` decays is the last, and the judge is
            that of the best epoch. If False: `max_epochs` epochs at one learning rate, and the judge is the last.
        min_updates: minimum updates per epoch; an epoch repeats a short text until it has as many.
    """

    name: str
    embedding_dim: int
    hidden_dim: int
    tied: bool = True
    shortlist: int | None = 2000
    input_dropout: float = 0.4
    output_dropout: float = 0.5
    learning_rate: float = 2e-3
    clip_norm: float = 1.0
    batch_tokens: int = 1024
    batch_size: int = 256
    max_epochs: int = 40
    early_stopping: bool = True
    decay: float = 0.3
    n_decays: int = 2
    min_gain: float = 0.02
    min_updates: int = 25


RECIPES: dict[str, LSTMRecipe] = {
    "default": LSTMRecipe("lstm-320x1", 320, 320),
    # The reverse language model in the public code of the authors of the latent-space EBM.
    "lebm": LSTMRecipe(
        "lstm-512x1-lebm",
        512,
        512,
        tied=False,
        shortlist=None,
        input_dropout=0.5,
        output_dropout=0.5,
        learning_rate=1e-4,
        clip_norm=5.0,
        batch_tokens=1 << 20,
        batch_size=32,
        max_epochs=8,
        early_stopping=False,
        min_updates=1,
    ),
}


@dataclass(frozen=True)
class LSTMSpec:
    """An LSTM of one recipe and one seed; `cache` is a directory for trained ones, `device` a torch device name.

    `on_progress` reports the updates of each epoch. See `lm_eval.lstm`.
    """

    recipe: LSTMRecipe = RECIPES["default"]
    seed: int = 1
    cache: Path | None = None
    device: str = "cpu"
    on_progress: Progress = field(default=silent, compare=False, repr=False)

    name = file_name = "lstm"
    n_more = 1  # `</s>`
    cheap = False

    @property
    def lm(self) -> str:
        return self.recipe.name

    @property
    def stop(self) -> str:
        return "real-valid" if self.recipe.early_stopping else f"epoch-{self.recipe.max_epochs}"

    def key(self) -> dict[str, Any]:
        """Return the recipe as a dict."""
        return asdict(self.recipe)

    def placed(self, device: Callable[[], str], on_progress: Progress) -> LSTMSpec:
        """Return the judge on that device, as `BuiltSpec.placed` does."""
        return replace(self, device=device(), on_progress=on_progress)

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        """Train as `JudgeSpec.train` does, stopping on the real validation text whatever `sentences` are."""
        from .lstm_training import train_lstm

        judge = train_lstm(
            sentences,
            reference.valid,
            reference.vocabulary,
            recipe=self.recipe,
            seed=self.seed,
            cache=self.cache,
            device=self.device,
            on_progress=self.on_progress,
        )
        return TrainedJudge(judge, training=judge.report)


def judge_specs(
    lm: str | None, convention: Convention, *, backend: str = "numpy", n_seeds: int = 1, cache: Path | None = None
) -> list[BuiltSpec]:
    """Return the judges that `lm` names.

    Args:
        lm: one of `JUDGES`, a plug-in (see `plugins`), or None for the convention's default.
        convention: limits which judges are allowed.
        backend: estimator of n-gram judges, one of `ngram.BACKENDS`.
        n_seeds: LSTM judges are returned for the seeds 1 to `n_seeds`.
        cache: directory of trained LSTM judges.

    Raises:
        InputError: a judge that the convention does not allow, several seeds without an LSTM judge, or another backend
            than numpy without an n-gram judge.
    """
    from .plugins import is_plugged, plugged_spec

    known = convention.judges
    lm = lm or known[0].replace("kn", _NGRAM)
    plugged = lm not in JUDGES and is_plugged(lm) and convention.name == "default"
    if backend != "numpy" and (plugged or lm == "lstm"):
        raise InputError(f"{lm} is no n-gram judge; the backend {backend} is for kn2 to kn6 and both")
    if plugged:
        if n_seeds > 1:
            raise InputError(f"{lm} is one judge; several seeds are for the LSTM judge")
        return [plugged_spec(lm)]
    if lm not in JUDGES or lm.rstrip("23456") not in known:
        raise InputError(
            f"the protocol {convention.name} has no judge {lm}, only {', '.join(known)}"
            + ("" if convention.closed else ": an LSTM needs a closed vocabulary")
        )
    specs: list[BuiltSpec] = []
    if lm != "lstm":
        specs.append(KneserNeySpec(int((_NGRAM if lm == "both" else lm).removeprefix("kn")), backend))
    if lm in ("lstm", "both"):
        specs += [LSTMSpec(RECIPES[convention.recipe], seed, cache) for seed in range(1, n_seeds + 1)]
    elif n_seeds > 1:
        raise InputError(f"{lm} is estimated without chance and has no seeds; they are for the LSTM judge")
    return specs
