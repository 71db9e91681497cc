"""Report on anomaly detection: AUROC and AUPRC of every score of every system, and models compared with baselines.

A contrast is a set of anomalies, the positive class, among normal sentences; nothing is fitted to them. Baselines that
need no run are always included: length, number of unknown words, and an n-gram model of the training text. After Pang
et al. (NeurIPS 2020), who use −log p(x, z) as the score.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from rich.console import Group
from rich.table import Table

from lebm_text import __version__
from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.store import read_json
from lebm_text.text.corpora import Corpus
from lebm_text.torch_state import own_state

from .anomaly_systems import (
    Areas,
    Curves,
    Resampled,
    SystemScores,
    baselines,
    difference,
    labels_of,
    posterior_chain,
    score_run,
)
from .anomaly_texts import NORMAL, PROTOCOL, Anomalies, AnomalySettings, choose_texts
from .base import Interval, Report, different_runs, format_interval, need_sklearn, new_table, settled
from .drawing import legend, listed, panels
from .scores import chain_bias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Anomaly", "AnomalySettings", "Comparison", "Contrast", "Row", "ScoredRun", "compute", "verdict"]

logger = logging.getLogger(__name__)

_STYLES = ("-", "--", "-.", ":")
_CURVES = ("ROC (high is good)", "precision (high is good)")


@dataclass(frozen=True)
class Row:
    """AUROC and AUPRC of one score of one system, with 95 % confidence intervals."""

    system: str
    score: str
    per_token: bool
    auroc: float
    auroc_ci95: Interval
    auprc: float
    auprc_ci95: Interval


@dataclass(frozen=True)
class Comparison:
    """AUROC of a model's score minus a baseline's, on the same resamples; `model_is` is the result of `verdict`."""

    model: str
    score: str
    baseline: str
    per_token: bool
    auroc_difference: float
    ci95: Interval
    model_is: str


@dataclass(frozen=True)
class Contrast:
    """Results for one set of anomalies among normal sentences.

    Attributes:
        anomalies_sha256: hash of their source; None for corrupted sentences.
        share: of anomalies among all sentences.
        results: of every score of every system.
        comparisons: of the models with the baselines.
        curves: system and its main score → ROC and precision-recall curves.
    """

    signature: str
    anomalies: str
    anomalies_sha256: str | None
    n_normal: int
    n_anomalous: int
    share: float
    results: list[Row]
    comparisons: list[Comparison]
    curves: dict[str, Curves]


@dataclass(frozen=True)
class ScoredRun:
    """A run whose scores were evaluated."""

    label: str
    directory: str
    weights_sha256: str
    prior: str
    latent_dim: int
    inference: str


@dataclass(frozen=True, kw_only=True)
class Anomaly(Report):
    """Results for all contrasts, and the settings of the scores.

    `warnings` are about runs that may have been trained on the anomalies, and about chains that are too short. `sha256`
    has the weights of the first run, in whose directory the report is written.
    """

    kind: ClassVar[str] = "anomaly"

    sha256: dict[str, str] = field(default_factory=dict)
    corpus: dict[str, object]
    split: str
    runs: list[ScoredRun]
    draws: int
    steps: int | None
    rare_words: int | None
    precision: str
    seed: int
    resamples: int
    warnings: list[str]
    contrasts: list[Contrast]
    seconds: float

    def table(self) -> Group:
        """Return for each contrast a table of scores and a table of comparisons."""
        return Group(*(part for contrast in self.contrasts for part in _contrast_table(contrast)))

    def figure(self) -> Figure | None:
        """Return ROC and precision-recall curves of the main scores: one row of panels per contrast."""
        if not self.contrasts:
            return None
        titles = [f"{each.anomalies}: {what}" for each in self.contrasts for what in _CURVES]
        figure, axes = panels(titles, columns=2)
        for contrast, roc, precision in zip(self.contrasts, axes[::2], axes[1::2], strict=True):
            for number, (label, curves) in enumerate(contrast.curves.items()):
                color, line = f"C{number % 10}", _STYLES[number % 4]
                roc.plot(*np.reshape(curves.roc, (-1, 2)).T, color=color, linestyle=line, label=listed(label))
                points = np.reshape(curves.precision_over_recall, (-1, 2)).T
                precision.step(*points, where="post", color=color, linestyle=line)
            roc.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
            precision.axhline(contrast.share, color="0.6", linewidth=0.8)
            roc.set(xlabel="normal sentences above the threshold", ylabel="anomalies above the threshold")
            precision.set(xlabel="recall of anomalies", ylabel="precision", ylim=(0, 1.02))
        legend(axes[-2])  # the lines are the same in all panels
        return figure


@own_state(grad=True)
def compute(
    corpus: Corpus, runs: Sequence[Run], settings: AnomalySettings | None = None, on_progress: Progress = silent
) -> Anomaly:
    """Score normal and anomalous sentences with all systems, and compute AUROC and AUPRC of every score.

    Args:
        corpus: made by `anomaly_texts.prepare`, or any other corpus; the sentences of `settings.split` are normal.
        runs: runs trained on the normal text; a run without a learned prior is a baseline.
        settings: the anomalies and how sentences are scored; None: the defaults.
        on_progress: called with the progress.

    Raises:
        InputError: a run without weights or given twice, steps for runs without chains, no anomalies, or no
            scikit-learn.
    """
    began, settings, runs = time.monotonic(), settled(settings, AnomalySettings), different_runs(runs)
    if not isinstance(corpus, Corpus):
        raise InputError(f"expected a Corpus, such as Run.corpus() or find_corpus(NAME), got {type(corpus).__name__}")
    need_sklearn("areas under curves")
    chains = list(map(posterior_chain, runs))
    if settings.n_steps is not None and not any(chains):
        raise InputError("the number of steps is of chains that draw z, and no run that takes part has one")
    labels = dict(zip(labels_of(runs), runs, strict=True))
    taking_part = [_record(run, label) for label, run in labels.items()]

    def fits(sentence: str) -> bool:
        return all(run.tokenizer.fits(sentence, run.config.text.max_length) for run in runs)

    normal, sets = choose_texts(corpus, settings, fits)
    warnings = []
    for (label, run), chain in zip(labels.items(), chains, strict=True):
        if (name := _foreign_text(run, corpus)) is not None:
            told = f"{label} was trained on {name}, which is not the training text of {corpus.name}"
            warnings.append(f"{told}: it may know the anomalies")
        if chain:
            bias = chain_bias(chain.adapted(n_steps=settings.n_steps, noise_scale=1.0))
            warnings += [f"{label}: {bias}"] if bias else []
    for warning in warnings:
        logger.warning(warning)
    rare_words = _rare_words(settings, corpus)
    texts = {NORMAL: normal, **{each.name: each.sentences for each in sets}}
    systems = [score_run(run, label, texts, settings, on_progress) for label, run in labels.items()]
    length, unknown, ngram = baselines(corpus.name, list(corpus.splits["train"].sentences()), texts)
    systems.append(ngram)
    if rare_words is not None:
        counts, price = unknown.values[unknown.main], math.log(rare_words)
        # Only systems whose vocabulary has all words of the training text: for others the number of words is not known.
        known = [run.config.text.tokenizer == "word" and run.config.text.vocab_size is None for run in runs]
        known.append(True)
        systems = [each.with_price(counts, price) if k else each for each, k in zip(systems, known, strict=True)]
    systems += [unknown, length]
    return Anomaly(
        corpus=corpus.describe(),
        split=settings.split,
        runs=taking_part,
        draws=settings.n_draws,
        steps=settings.n_steps,
        rare_words=rare_words,
        precision=settings.precision,
        seed=settings.seed,
        resamples=settings.resamples,
        warnings=warnings,
        contrasts=[_contrast(corpus.name, each, len(normal), systems, settings) for each in sets],
        sha256={"weights": taking_part[0].weights_sha256} if taking_part else {},
        versions=versions(),
        seconds=time.monotonic() - began,
    )


def _record(run: Run, label: str) -> ScoredRun:
    model, inference = run.config.model, run.config.inference
    return ScoredRun(label, str(run), run.weights_sha256, model.prior, model.latent_dim, inference.kind)


def _foreign_text(run: Run, corpus: Corpus) -> str | None:
    """Return the name of the run's training text if it is known and differs from that of `corpus`, else None."""
    if not run.environment_file.is_file():
        return None
    described = run.described_corpus
    return None if described.splits["train"].sha256 == corpus.splits["train"].sha256 else described.name


def _rare_words(settings: AnomalySettings, corpus: Corpus) -> int | None:
    """Return how many words `<unk>` stands for, from the settings or as counted by `prepare`; None: not known."""
    protocol = corpus.splits["test"].path.with_name(PROTOCOL)
    if settings.rare_words is not None or not protocol.is_file():
        return settings.rare_words
    n = read_json(protocol).get("n_rare_words")
    if not (n is None or (isinstance(n, int) and n >= 0)):
        raise InputError(f"{protocol} is damaged: n_rare_words should be a whole number, got {n!r}")
    return n or None


def _contrast(
    corpus: str, anomalies: Anomalies, n_normal: int, systems: Sequence[SystemScores], settings: AnomalySettings
) -> Contrast:
    """Evaluate all scores on one set of anomalies."""
    paired, n_anomalous = anomalies.of is not None, len(anomalies.sentences)
    rows = list(range(n_normal)) if anomalies.of is None else anomalies.of
    resampled = Resampled(len(rows), n_anomalous, n_resamples=settings.resamples, paired=paired, seed=settings.seed)
    results, measured, curves = [], {}, {}
    for system in systems:
        for (score, per_token), values in system.columns().items():
            both = values[NORMAL][rows], values[anomalies.name]
            found = resampled.areas(*both)
            figures = found.auroc.value, found.auroc.ci95, found.auprc.value, found.auprc.ci95
            results.append(Row(system.label, score, per_token, *figures))
            if score in (system.main, system.priced):
                measured[system.label, score == system.priced, per_token] = found
            if score == system.main and not per_token:
                curves[f"{system.label} {score}"] = resampled.curves(*both)
    steps = "run" if settings.n_steps is None else settings.n_steps
    signature = (
        f"AUROC,AUPRC|positive:{anomalies.name}(n={n_anomalous})"
        f"|negative:{corpus}-{settings.split}(n={len(rows)})|z:p(z|x),draws={settings.n_draws},steps={steps}"
        f"|eos:yes|bootstrap:{settings.resamples}|seed:{settings.seed}|v:{__version__}"
    )
    return Contrast(
        signature=signature,
        anomalies=anomalies.name,
        anomalies_sha256=anomalies.sha256,
        n_normal=len(rows),
        n_anomalous=n_anomalous,
        share=resampled.share,
        results=results,
        comparisons=_comparisons(systems, measured),
        curves=curves,
    )


def _comparisons(systems: Sequence[SystemScores], measured: Mapping[tuple[str, bool, bool], Areas]) -> list[Comparison]:
    """Compare AUROC of each model's main score with each baseline's, with and without a price of `<unk>`, or per token.

    If a baseline lacks such a score, its plain score is used. `measured` maps (system, priced, per token) to areas.
    """
    models, others = ([system for system in systems if system.is_model is wanted] for wanted in (True, False))
    compared = []
    for model, other, priced, per_token in product(models, others, (False, True), (False, True)):
        score = model.priced if priced else model.main
        if score is None:
            continue
        forms = [(other.label, priced, per_token), (other.label, False, per_token), (other.label, False, False)]
        rival = next(measured[form] for form in forms if form in measured)
        value, ci95 = difference(measured[model.label, priced, per_token].auroc, rival.auroc)
        compared.append(Comparison(model.label, score, other.label, per_token, value, ci95, verdict(ci95)))
    return compared


def verdict(ci95: Interval) -> str:
    """Return "better", "worse" or "no difference shown", from the confidence interval of model minus baseline."""
    low, high = ci95
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


def _contrast_table(contrast: Contrast) -> Iterator[Table | str]:
    title = f"{contrast.anomalies}: {contrast.n_anomalous:,} anomalies among {contrast.n_normal:,} normal sentences"
    table = new_table(title, "system", "score", "AUROC", "95 %", "AUPRC", "95 %", keys=2)
    for row in contrast.results:
        auroc = f"{row.auroc:.3f}", format_interval(*row.auroc_ci95, 3)
        auprc = f"{row.auprc:.3f}", format_interval(*row.auprc_ci95, 3)
        table.add_row(row.system, _score(row), *auroc, *auprc)
    yield table
    yield f"chance: AUROC 0.5, AUPRC {contrast.share:.3f}"
    headings = ("model", "score", "baseline", "AUROC difference", "95 %", "the model is")
    table = new_table("models against baselines", *headings, keys=3)
    for each in contrast.comparisons:
        figures = f"{each.auroc_difference:+.3f}", format_interval(*each.ci95, 3), each.model_is
        table.add_row(each.model, _score(each), each.baseline, *figures)
    if contrast.comparisons:
        yield table


def _score(row: Row | Comparison) -> str:
    return f"{row.score} per token" if row.per_token else row.score
