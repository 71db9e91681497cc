r"""Systems that score sentences for anomaly detection, and the evaluation of a score by areas under curves.

Systems are runs of any model, and baselines that need no run. The measures, computed by scikit-learn, are

    AUROC   probability that an anomaly scores above a normal sentence; ties count half
    AUPRC   average precision with anomalies as the positive class; chance level is the share of anomalies

Confidence intervals are percentiles of a bootstrap over sentences, with normal and anomalous ones resampled separately.
All scores use the same resamples, so that differences are paired. A resample is stored as the count of each sentence,
so that scores are sorted only once: 90 times as fast as a call of scikit-learn for every resample.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lebm_text.build import build_inference
from lebm_text.environment import code_sha256
from lebm_text.judges import check_judges
from lebm_text.models.base import Chain
from lebm_text.progress import Progress, counter
from lebm_text.run import Run
from lebm_text.store import cache_entry, keep, kept, sha256_file
from lebm_text.text.reading import split_words
from lebm_text.text.tokenizers import UNK

from .anomaly_texts import NORMAL, AnomalySettings
from .base import Interval
from .scores import Scorer, ScoreSettings, SentenceScore

__all__ = [
    "Area",
    "Areas",
    "Curves",
    "Resampled",
    "SystemScores",
    "baselines",
    "difference",
    "labels_of",
    "posterior_chain",
    "score_run",
]

Floats = NDArray[np.float64]

Texts = Mapping[str, Sequence[str]]
"""Name → sentences; those of `NORMAL` are the normal ones."""

_BASELINES = ("length", "unknown words", "kn5")  # labels; a run may not have the same, since results are found by label
_CHUNK = 64  # sentences per cache entry
_POINTS = 200  # points of a curve
_COUNTS = 1 << 21  # resamples × sentences that are summed at a time: about 100 MB


@dataclass(frozen=True)
class SystemScores:
    """The scores of one system on all texts; high means anomalous.

    Attributes:
        is_model: whether it has a learned prior; all other systems are baselines.
        main: name of the score that is compared with other systems.
        values: score → text → values (n,).
        lengths: text → numbers of tokens (n,), for scores per token; None: there are no scores per token.
        priced: name of the main score with a price added for each `<unk>`, if there is one.
    """

    label: str
    is_model: bool
    main: str
    values: dict[str, dict[str, Floats]]
    lengths: dict[str, Floats] | None
    priced: str | None = None

    def with_price(self, unknown: Mapping[str, Floats], price: float) -> SystemScores:
        """Return a copy with one more score: the main score plus `price` nats for each of a sentence's `<unk>`.

        `unknown` has the numbers of `<unk>` of the sentences of each text (n,).
        """
        name = f"{self.main} + <unk>"
        dearer = {text: values + price * unknown[text] for text, values in self.values[self.main].items()}
        return replace(self, values={**self.values, name: dearer}, priced=name)

    def columns(self) -> dict[tuple[str, bool], dict[str, Floats]]:
        """Return (score, whether per token) → text → values (n,)."""
        found = {(name, False): by_text for name, by_text in self.values.items()}
        if self.lengths is not None:
            for name, by_text in self.values.items():
                found[name, True] = {text: values / self.lengths[text] for text, values in by_text.items()}
        return found


def labels_of(runs: Sequence[Run]) -> list[str]:
    """Return distinct labels of runs: the name, or the path if several have this name."""
    names = [run.name for run in runs]
    labels = [run.name if names.count(run.name) == 1 else str(run) for run in runs]
    return [f"run {label}" if label in _BASELINES else label for label in labels]


def posterior_chain(run: Run) -> Chain | None:
    """Return the chain by which a run draws z, as after annealing; None if it draws z without one."""
    if "inference" in run.config.plugged:
        model = run.model(device="cpu")
        return build_inference(model.config.inference, encoder=model.model.encoder).chain
    inference = run.config.inference
    return build_inference(inference).chain if inference.kind == "short_run" else None


def score_run(run: Run, label: str, texts: Texts, settings: AnomalySettings, on_progress: Progress) -> SystemScores:
    """Return the scores of all texts under a run's model; no sentence may be too long for it."""
    columns: dict[str, dict[str, Floats]] = {}
    lengths, done = {}, 0
    scorer = _kept_scorer(run, settings)
    on_sentence = counter(on_progress, f"scores of {label}", sum(map(len, texts.values())))
    for text, sentences in texts.items():
        scores: list[SentenceScore] = []
        for start in range(0, len(sentences), _CHUNK):
            # Sentences are numbered across texts, so that no two have the same noise.
            scores += scorer(sentences[start : start + _CHUNK], done + start)
            on_sentence(done + len(scores))
        done += len(scores)
        rows = [_anomaly_scores(score, run.config.model.latent_dim) for score in scores]
        for name in rows[0]:
            columns.setdefault(name, {})[text] = np.array([row[name] for row in rows])
        lengths[text] = np.array([float(score.n_tokens) for score in scores])
    return SystemScores(label, run.config.model.prior != "gaussian", next(iter(columns)), columns, lengths)


def _anomaly_scores(score: SentenceScore, latent_dim: int) -> dict[str, float]:
    """Return the anomaly scores of a sentence, high means anomalous, with the main score first."""
    if latent_dim == 0:
        return {"-log p(x)": -score.log_likelihood}
    parts = {"-log p(x,z)": score.score, "-log p(x|z)": -score.log_likelihood, "-log p(z)": -score.log_prior}
    return parts if score.elbo is None else {"-ELBO": -score.elbo, **parts}


def _kept_scorer(run: Run, settings: AnomalySettings) -> Callable[[Sequence[str], int], list[SentenceScore]]:
    """Return a function that scores sentences from a number on, none of which may be too long for the model.

    Scores are kept in the user's cache, since chains are slow and comparisons are often extended.
    """
    n_steps = settings.n_steps if posterior_chain(run) else None
    how = ScoreSettings(settings.n_draws, n_steps, seed=settings.seed)
    key = code_sha256(), sha256_file(run.config_file), run.weights_sha256, asdict(how), settings.precision
    scorer = cache(lambda: Scorer(run.model(device=settings.device, precision=settings.precision), how))

    def scores(sentences: Sequence[str], first: int) -> list[SentenceScore]:
        entry = cache_entry("scores", *key, first, list(sentences))
        if (content := kept(entry)) is not None:
            return [SentenceScore(**record) for record in json.loads(content)]
        found = [score for score in scorer()(sentences, first=first) if score is not None]
        keep(entry, json.dumps([asdict(score) for score in found]).encode())
        return found

    return scores


def baselines(corpus: str, train: Sequence[str], texts: Texts) -> tuple[SystemScores, SystemScores, SystemScores]:
    """Return the scores of the baselines: length, number of `<unk>`, and a Kneser-Ney 5-gram model of `train`.

    The vocabulary is closed as for judges.
    """
    check_judges()
    from lm_eval.judges import KneserNeySpec
    from lm_eval.texts import RealText, Reference

    reference = Reference(RealText(corpus, train, NORMAL, texts[NORMAL]))
    closed = {name: reference.read(sentences, name)[0] for name, sentences in texts.items()}
    judge = KneserNeySpec(5).train(reference.train, reference).model
    scores = {name: judge.score(sentences) for name, sentences in closed.items()}
    lengths = {name: found.n_tokens.astype(float) for name, found in scores.items()}
    unknown = {
        name: np.array([float(split_words(sentence).count(UNK)) for sentence in sentences])
        for name, sentences in closed.items()
    }
    length, words, ngram = _BASELINES
    nll = {name: found.nll for name, found in scores.items()}
    return (
        SystemScores(length, False, "tokens", {"tokens": lengths}, None),
        SystemScores(words, False, UNK, {UNK: unknown}, lengths),
        SystemScores(ngram, False, "-log p(x)", {"-log p(x)": nll}, lengths),
    )


@dataclass(frozen=True)
class Area:
    """An area under a curve, its 95 % confidence interval, and its values over the R resamples (R,)."""

    value: float
    ci95: Interval
    draws: Floats


@dataclass(frozen=True)
class Areas:
    """AUROC and AUPRC of a score."""

    auroc: Area
    auprc: Area


@dataclass(frozen=True)
class Curves:
    """ROC and precision-recall curves, thinned to at most `_POINTS` points each, including both ends.

    Attributes:
        roc: (share of normal sentences above a threshold, share of anomalies above it).
        precision_over_recall: (recall of anomalies, precision).
    """

    roc: list[tuple[float, float]]
    precision_over_recall: list[tuple[float, float]]


class Resampled:
    """Bootstrap resamples of N normal and M anomalous sentences, to evaluate scores; high scores mean anomalous."""

    def __init__(
        self, n_normal: int, n_anomalous: int, *, n_resamples: int = 500, paired: bool = False, seed: int = 1
    ) -> None:
        """Draw the resamples; with `paired`, anomaly i was made from normal sentence i and is drawn with it."""
        self.labels = np.repeat([0, 1], [n_normal, n_anomalous])
        rng = np.random.Generator(np.random.PCG64(seed))
        normal = rng.multinomial(n_normal, np.full(n_normal, 1 / n_normal), size=n_resamples)
        share = np.full(n_anomalous, 1 / n_anomalous)
        anomalous = normal if paired else rng.multinomial(n_anomalous, share, size=n_resamples)
        self._counts = np.concatenate([normal, anomalous], axis=1, dtype=np.int32, casting="same_kind")

    @property
    def share(self) -> float:
        """The share of anomalies, which is the AUPRC of a random score."""
        return float(self.labels.mean())

    def areas(self, normal: Floats, anomalous: Floats) -> Areas:
        """Return AUROC and AUPRC of a score, given its values for normal (N,) and anomalous (M,) sentences.

        Raises:
            ValueError: a value is not finite.
        """
        from sklearn.metrics import average_precision_score, roc_auc_score

        values = _joined(normal, anomalous)
        n_blocks = 1 + self._counts.size // _COUNTS
        blocks = [_areas(self.labels, values, counts) for counts in np.array_split(self._counts, n_blocks)]
        found = []
        for function, parts in zip((roc_auc_score, average_precision_score), zip(*blocks, strict=True), strict=True):
            draws = np.concatenate(parts)
            found.append(Area(float(function(self.labels, values)), _ci95(draws), draws))
        return Areas(*found)

    def curves(self, normal: Floats, anomalous: Floats) -> Curves:
        """Return the ROC and precision-recall curves of a score."""
        from sklearn.metrics import precision_recall_curve, roc_curve

        values = _joined(normal, anomalous)
        false_rate, true_rate, _ = roc_curve(self.labels, values)
        precision, recall, _ = precision_recall_curve(self.labels, values)
        return Curves(_thinned(false_rate, true_rate), _thinned(recall, precision))


def _joined(normal: Floats, anomalous: Floats) -> Floats:
    values = np.concatenate([normal, anomalous])
    if not np.isfinite(values).all():
        raise ValueError("expected finite scores")
    return values


def _areas(labels: NDArray[np.int64], values: Floats, counts: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return AUROC and AUPRC (R,) of scores (N,), where sentence i occurs counts[r, i] times in resample r."""
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.inf))  # first of each group of equal scores
    positive, negative = (
        np.add.reduceat(counts[:, order] * (labels[order] == label), starts, axis=1).astype(float) for label in (1, 0)
    )
    hits, errors = positive.cumsum(1), negative.cumsum(1)
    n_positive, n_negative = hits[:, -1:], errors[:, -1:]
    below = n_negative - errors + 0.5 * negative
    auroc = (positive * below).sum(1) / (n_positive * n_negative)[:, 0]
    precision = hits / np.maximum(hits + errors, 1)
    return auroc, (positive * precision).sum(1) / n_positive[:, 0]


def _thinned(x: Floats, y: Floats) -> list[tuple[float, float]]:
    kept = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _ci95(draws: Floats) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def difference(one: Area, other: Area) -> tuple[float, Interval]:
    """Return one − other with its 95 % confidence interval; both must use the same resamples."""
    return one.value - other.value, _ci95(one.draws - other.draws)
