"""Who scores in `lebm-text anomaly eval`: runs of any model, and baselines that need none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text import __version__
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, cache_directory, read_json, sha256_file

from .judging import check_judges, show_stage
from .sampling import find_run, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lebm_text.reports.scores import Scorer, ScoreSettings, SentenceScore

    Floats = NDArray[np.float64]

__all__ = ["NORMAL", "Run", "SystemScores", "baselines", "find_runs"]

Texts = Mapping[str, Sequence[str]]
"""Name → sentences; those of `NORMAL` are the normal ones."""

NORMAL = "normal"
_BASELINES = ("length", "unknown words", "kn5")  # labels; figures are looked up by them, so no run may have one
_CHUNK = 64  # sentences whose scores are kept together


@dataclass(frozen=True)
class SystemScores:
    """The scores of one system on all texts, high is anomalous.

    Attributes:
        label: of the system.
        is_model: it has a learned prior; all others are baselines.
        main: the score that it is compared by; `priced`: the same where each `<unk>` has its price, if there is one.
        values: score → text → (n,).
        lengths: text → (n,) what values are divided by for figures a token; None: there are no such figures.
    """

    label: str
    is_model: bool
    main: str
    values: dict[str, dict[str, Floats]]
    lengths: dict[str, Floats] | None
    priced: str | None = None

    def with_price(self, unknown: Mapping[str, Floats], price: float) -> SystemScores:
        """Besides, the main score where each `<unk>` costs `price` nats more; `unknown`: text → how many (n,)."""
        name = f"{self.main} + <unk>"
        dearer = {text: values + price * unknown[text] for text, values in self.values[self.main].items()}
        return replace(self, values={**self.values, name: dearer}, priced=name)

    def columns(self) -> dict[tuple[str, bool], dict[str, Floats]]:
        """(score, a token?) → text → (n,)."""
        found = {(name, False): by_text for name, by_text in self.values.items()}
        if self.lengths is not None:
            for name, by_text in self.values.items():
                found[name, True] = {text: values / self.lengths[text] for text, values in by_text.items()}
        return found


@dataclass(frozen=True)
class Run:
    """A run that takes part, before its weights are read."""

    directory: Path
    label: str
    config: Config

    @property
    def has_chain(self) -> bool:
        return self.config.inference.kind == "short_run"

    @property
    def knows_all_words(self) -> bool:
        """Its `<unk>` stands for the words that its training text lacks, and for no others."""
        return self.config.text.tokenizer == "word" and self.config.text.vocab_size is None

    def foreign_text(self, train_sha256: str) -> str | None:
        """The name of what it was trained on, if that is known and another text than this."""
        if not (self.directory / "env.json").is_file():
            return None
        corpus = read_json(self.directory / "env.json").get("corpus", {})
        own = corpus.get("splits", {}).get("train", {}).get("sha256")
        return None if own == train_sha256 else str(corpus.get("name", "an unknown text"))

    def describe(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "label": self.label,
            "directory": str(self.directory),
            "weights_sha256": sha256_file(self.directory / "model.safetensors"),
            "prior": self.config.model.prior,
            "latent_dim": self.config.model.latent_dim,
            "inference": self.config.inference.kind,
        }

    def score(self, texts: Texts, settings: ScoreSettings, *, device: str, precision: str, quiet: bool) -> SystemScores:
        """Read the model and score all texts, none of whose sentences may be too long."""
        import numpy as np

        parts = _parts(self.config)
        values: dict[str, dict[str, Floats]] = {name: {} for name in parts}
        lengths, done = {}, 0
        scorer = _KeptScorer(self.directory, settings, device=device, precision=precision)
        with progress(sum(map(len, texts.values())), f"scores of {self.label}", quiet=quiet) as say:
            for text, sentences in texts.items():
                scores: list[SentenceScore] = []
                for start in range(0, len(sentences), _CHUNK):
                    # Texts go on numbering where the last one ended, so that no two share their noise.
                    scores += scorer(sentences[start : start + _CHUNK], done)
                    done += len(sentences[start : start + _CHUNK])
                    say(done)
                for name, attribute in parts.items():
                    sign = 1.0 if attribute == "score" else -1.0
                    values[name][text] = np.array([sign * getattr(score, attribute) for score in scores])
                lengths[text] = np.array([float(score.n_tokens) for score in scores])
        return SystemScores(self.label, self.config.model.prior == "ebm", next(iter(parts)), values, lengths)


class _KeptScorer:
    """A scorer whose results are kept in the user's cache: chains are slow, and a comparison grows by and by."""

    def __init__(self, directory: Path, settings: ScoreSettings, *, device: str, precision: str) -> None:
        self._directory, self._settings, self._device, self._precision = directory, settings, device, precision
        self._of_run = [sha256_file(directory / name) for name in ("config.json", "model.safetensors")]

    def __call__(self, sentences: Sequence[str], first: int) -> list[SentenceScore]:
        """The scores of sentences none of which is too long."""
        from lebm_text.reports.scores import SentenceScore

        key = [__version__, *self._of_run, asdict(self._settings), self._precision, first, list(sentences)]
        path = cache_directory() / "scores" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
        with suppress(InputError, KeyError, TypeError):  # not there, or damaged
            kept = [SentenceScore(**record) for record in read_json(path)["scores"]]
            if len(kept) == len(sentences):
                return kept
        scores = [score for score in self._scorer(sentences, first=first) if score is not None]
        with suppress(OSError):  # a cache that cannot be written costs time alone
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(path, {"scores": [asdict(score) for score in scores]})
        return scores

    @cached_property
    def _scorer(self) -> Scorer:
        from lebm_text.model import LatentEBM
        from lebm_text.reports.scores import Scorer

        return Scorer(
            LatentEBM.from_pretrained(self._directory, device=self._device, precision=self._precision), self._settings
        )


def find_runs(directories: Sequence[Path]) -> list[Run]:
    """The runs, labelled by the shortest ends of their paths that tell them apart. InputError for what is none."""
    runs = []
    for directory in directories:
        config = Config.from_dict(read_json(find_run(directory) / "config.json"))
        if not (directory / "model.safetensors").is_file():
            raise InputError(f"{directory} has no model.safetensors: training has not ended yet")
        name = directory.resolve().name
        twins = [other for other in directories if other.resolve().name == name]
        label = name if len(twins) == 1 else str(directory)
        runs.append(Run(directory, f"run {label}" if label in _BASELINES else label, config))
    if len({run.directory.resolve() for run in runs}) < len(runs):
        raise InputError("a run is given twice")
    return runs


def _parts(config: Config) -> dict[str, str]:
    """Score → attribute of `SentenceScore`; the main score first."""
    if config.model.latent_dim == 0:
        return {"-log p(x)": "log_likelihood"}
    parts = {"-log p(x,z)": "score", "-log p(x|z)": "log_likelihood", "-log p(z)": "log_prior"}
    return parts if config.inference.kind == "short_run" else {"-ELBO": "elbo", **parts}


def baselines(corpus: str, train: Sequence[str], texts: Texts) -> tuple[SystemScores, SystemScores, SystemScores]:
    """Length, `<unk>`, and a Kneser-Ney model of order 5 of the training text, closed as that of the judges."""
    import numpy as np

    check_judges()
    from lebm_text.text.vocabulary import UNK
    from lm_eval.judges import KneserNeySpec
    from lm_eval.texts import RealText, Reference

    show_stage("training the n-gram model …")
    reference = Reference(RealText(corpus, train, NORMAL, texts[NORMAL]))
    closed = {name: reference.read(sentences, name)[0] for name, sentences in texts.items()}
    judge = KneserNeySpec(5).train(reference.train, reference).model
    scores = {name: judge.score(sentences) for name, sentences in closed.items()}
    lengths = {name: found.n_tokens.astype(float) for name, found in scores.items()}
    unknown = {
        name: np.array([float(sentence.split(" ").count(UNK)) for sentence in sentences])
        for name, sentences in closed.items()
    }
    length, words, ngram = _BASELINES
    return (
        SystemScores(length, False, "tokens", {"tokens": lengths}, None),
        SystemScores(words, False, UNK, {UNK: unknown}, lengths),
        SystemScores(ngram, False, "-log p(x)", {"-log p(x)": {n: s.nll for n, s in scores.items()}}, lengths),
    )
