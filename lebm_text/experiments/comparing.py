"""Reports beside each other: which differences are beyond their intervals, and which figures cannot be compared.

Two figures are compared if their signatures agree but for what makes the systems different: the model, its seeds and
the version. A difference is read against √(se₁² + se₂²), or, where both have the same seeds or sentences, pair by pair.
Perplexities are compared in logarithms, so that their difference is a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from lebm_text.errors import InputError
from lebm_text.reports import load
from lebm_text.reports.base import Report
from lebm_text.reports.embedding import Embedding
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.judged import Decoded, Judged, decoding_of, one_each
from lebm_text.reports.likelihood import Likelihood
from lebm_text.reports.signatures import split_fields
from lebm_text.run import Run
from lm_eval.embedding import EmbeddingScore
from lm_eval.intervals import NORMAL975

from .statistics import SeedInterval, mean_interval, normal_interval

__all__ = ["ComparedFigure", "FigureDifference", "compare", "read_figures"]

_OF_SYSTEM = ("prior:", "posterior:", "seed:", "judge-seed:", "v:", "samples:")


@dataclass(frozen=True)
class ComparedFigure:
    """A figure of a system under some conditions.

    Attributes:
        metric: for people, `RPPL by kn5, T = 1`.
        conditions: the fields of the signature that must agree, and the hashes and counts of the texts.
        by_seed: seeds → its value; of a perplexity the logarithm.
        standard_error: of one value, over sentences.
        is_log: whether values are logarithms.
        sentences: values by sentence where they are known, in an order that depends on the text alone.
    """

    metric: str
    conditions: tuple[str, ...]
    by_seed: dict[tuple[int | None, ...], float]
    standard_error: float
    is_log: bool
    sentences: tuple[float, ...] = field(default=(), repr=False)

    @property
    def value(self) -> float:
        """The mean over seeds, not in logarithms."""
        mean = fmean(self.by_seed.values())
        return math.exp(mean) if self.is_log else mean


@dataclass(frozen=True)
class FigureDifference:
    """A figure of two systems: the second's over the first's (`is_ratio`), or minus it, or `why` there is none."""

    metric: str
    values: tuple[float, float | None]
    interval: SeedInterval | None = None
    is_ratio: bool = False
    rule: str = ""
    why: str = ""

    @property
    def is_beyond(self) -> bool:
        """Whether the interval excludes that there is no difference."""
        if (found := self.interval) is None or found.low is None or found.high is None:
            return False
        return not found.low <= (1.0 if self.is_ratio else 0.0) <= found.high


def compare(first: Path, second: Path) -> list[FigureDifference]:
    """Compare every figure of `first` with that of `second`. Raises InputError as `read_figures` does."""
    others = read_figures(second)
    return [_difference(figure, others) for figure in read_figures(first)]


def read_figures(path: Path) -> list[ComparedFigure]:
    """Read the figures of a report, or of all reports of a run, with all seeds of a figure together.

    Raises:
        InputError: there is no report that has figures to compare, or it is damaged.
    """
    reports = list(Run(path).reports().values()) if path.is_dir() else [load(path)]
    merged: dict[tuple[str, ...], ComparedFigure] = {}
    for found in (figure for report in reports for figure in _figures_of(report)):
        earlier = merged.setdefault(found.conditions, found)
        earlier.by_seed.update(found.by_seed)
    if not merged:
        first = f"; make one first: lebm-text evaluate --run {path}" if path.is_dir() else ""
        raise InputError(f"{path} has no report of evaluate, fppl, rppl, likelihood or fed to compare{first}")
    return list(merged.values())


def _figures_of(report: Report) -> Iterator[ComparedFigure]:
    if isinstance(report, Judged):
        for row in report.results:
            name = f"{row.metric.upper()} by {row.judge}{decoding_of(row)}"
            error = (math.log(row.ci95[1]) - math.log(row.ci95[0])) / (2 * NORMAL975)
            splits = [*(["train"] if row.metric == "fppl" else []), *(["valid"] if row.judge == "lstm" else [])]
            learned = [f"sha256 of the {split} text:{report.sha256.get(split, '')[:12]}" for split in splits]
            conditions = (*_conditions(row.signature, _held_out(report)), *learned)
            yield ComparedFigure(name, conditions, {(row.seed, row.judge_seed): math.log(row.ppl)}, error, True)
        if isinstance(report, Frontier):
            points = one_each(report.every, "text")
            yield from (_fed(report.meaning[row.text], row, report) for row in points if row.text in report.meaning)
    elif isinstance(report, Embedding):
        yield from (_fed(score, score, report) for score in report.results)
    elif isinstance(report, Likelihood) and (text := report.ais or report.exact) is not None:
        which = (
            f"sentences:{text.n_sentences}",
            f"too long:{report.corpus.n_left_out}",
            f"unknown:{report.corpus.n_unk}",
        )
        conditions = (*_conditions(report.signature, report.corpus.sha256), *which)
        lower = [row.log_p_lower for row in report.sentences[: text.n_sentences]]
        values = tuple(-value for value in lower if value is not None)
        sentences = values if len(values) == text.n_sentences else ()
        error = text.nll_standard_error or 0.0
        yield ComparedFigure("nll per sentence, nats", conditions, {(): text.nll}, error, False, sentences)


def _fed(score: EmbeddingScore, row: Decoded, report: Report) -> ComparedFigure:
    decoding, (low, high) = decoding_of(row), score.ci95["frechet"]
    conditions = _conditions(score.signature, _held_out(report))
    error = (high - low) / (2 * NORMAL975)
    return ComparedFigure(f"FED{decoding}", (*conditions, decoding), {(row.seed,): score.frechet}, error, False)


def _held_out(report: Report) -> str | None:
    return report.sha256.get("test", report.sha256.get("valid"))


def _conditions(signature: str, sha256: str | None) -> tuple[str, ...]:
    fields = [each for each in split_fields(signature, "|") if not each.startswith(_OF_SYSTEM)]
    return (*fields, f"sha256 of the held-out text:{(sha256 or '')[:12]}")


def _difference(first: ComparedFigure, others: Sequence[ComparedFigure]) -> FigureDifference:
    second = next((other for other in others if other.conditions == first.conditions), None)
    if second is None:
        return FigureDifference(first.metric, (first.value, None), why=_why(first, others))
    values = (first.value, second.value)
    seeds = [seed for seed in first.by_seed if seed in second.by_seed]
    if len(seeds) > 1:
        found, rule = mean_interval([second.by_seed[seed] - first.by_seed[seed] for seed in seeds]), "paired, seeds"
    elif first.sentences and len(first.sentences) == len(second.sentences):
        pairs = zip(first.sentences, second.sentences, strict=True)
        found, rule = mean_interval([b - a for a, b in pairs]), "paired, sentences"
    else:
        difference = fmean(second.by_seed.values()) - fmean(first.by_seed.values())
        error = math.hypot(first.standard_error, second.standard_error)
        found, rule = normal_interval(difference, error), "independent"
    if first.is_log:
        low, high = (None if bound is None else math.exp(bound) for bound in (found.low, found.high))
        found = SeedInterval(math.exp(found.value), low, high, found.n)
    return FigureDifference(first.metric, values, found, first.is_log, rule)


def _why(first: ComparedFigure, others: Sequence[ComparedFigure]) -> str:
    """Say how the nearest figure of the same kind differs."""
    same = [other for other in others if other.conditions[0] == first.conditions[0]]
    if not same:
        return "the other has no such figure"
    nearest = min(same, key=lambda other: len(set(other.conditions) ^ set(first.conditions)))
    mine = [each for each in first.conditions if each not in nearest.conditions]
    its = [each for each in nearest.conditions if each not in first.conditions]
    return f"{', '.join(mine) or 'nothing'} against {', '.join(its) or 'nothing'}"
