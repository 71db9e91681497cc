"""Texts that judges have read: what the reports of perplexities and of frontiers hold and show alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.console import RenderableType
from rich.text import Text

from lm_eval.coverage import Coverage
from lm_eval.diversity import Diversity, SampleSummary
from lm_eval.judges import TrainingReport
from lm_eval.perplexity import SeedSpread
from lm_eval.protocol import JudgeResult

from .base import Report

__all__ = [
    "HEADROOM",
    "OUTSIDE",
    "CorpusSplit",
    "Decoded",
    "Judged",
    "JudgedText",
    "MetricSpread",
    "SamplesSummary",
    "decoding_of",
    "judge_of",
    "one_each",
    "outside",
]

T = TypeVar("T")

HEADROOM = {"posterior": "z⁺ of training text", "long": "prior chain × 10"}
"""Where the z of sentences are from that no sampler of the model gives, and what tables call it."""

OUTSIDE = "outside vocab."
"""Heading of what `outside` gives."""


@dataclass(frozen=True)
class CorpusSplit:
    """The held-out real text."""

    name: str
    split: str


@dataclass(frozen=True, kw_only=True)
class SamplesSummary(SampleSummary):
    """What samples look like; `length_distance` is that of their lengths to those of the training text, in words.

    Lengths are measured against the text that the generator has learned from: some corpora hold out sentences of
    another length. `path` is None for samples that lie in no file.
    """

    path: str | None
    length_distance: float


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """How samples were decoded, as far as it is known: `temperature` where they were drawn, `seed` of the draws.

    `prior_temperature` and `guidance` where they are not 1. `latents` where they are no samples of the model: long, of
    a prior chain ten times as long, or posterior, of z⁺ of training sentences.
    """

    decode: str | None = None
    temperature: float | None = None
    seed: int | None = None
    prior_temperature: float | None = None
    guidance: float | None = None
    latents: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgedText(Decoded, JudgeResult):
    """What one judge says of one text, by one metric.

    Attributes:
        text: its label.
        samples: what it looks like; `real` and `train` the held-out and the training text.
        diversity: if it was asked for.
    """

    text: str
    samples: SamplesSummary
    real: SampleSummary
    train: SampleSummary
    diversity: Diversity | None = None


@dataclass(frozen=True, kw_only=True)
class MetricSpread:
    """Mean and standard deviations of figures that have several seeds, of one metric, judge and decoding."""

    metric: str
    judge: str
    decode: str | None = None
    temperature: float | None = None
    ppl: SeedSpread
    ratio: SeedSpread
    real_ppl: SeedSpread


@dataclass(frozen=True, kw_only=True)
class Judged(Report):
    """What all judges say of all texts, and the spread over seeds."""

    corpus: CorpusSplit
    results: list[JudgedText]
    spread: list[MetricSpread]

    def spread_lines(self) -> list[str]:
        """The spread for people."""
        lines = []
        for row in self.spread:
            of_samples = f"{row.metric.upper()}{decoding_of(row)} by {row.judge}"
            for label, figure in ((of_samples, row.ppl), (f"real data by {row.judge}", row.real_ppl)):
                deviations = [
                    f"sd {sd:.2f} over {n} {kind} seeds"
                    for kind, sd, n in (
                        ("judge", figure.sd_over_judge_seeds, figure.n_judge_seeds),
                        ("sample", figure.sd_over_sample_seeds, figure.n_sample_seeds),
                    )
                    if sd is not None
                ]
                if deviations:
                    lines.append(f"{label}: mean {figure.mean:.2f}, {', '.join(deviations)}")
        return lines

    def training_lines(self) -> list[RenderableType]:
        """How judges were trained."""
        lines = []
        for row in one_each(self.results, "judge", "judge_seed"):
            for what, training in (("", row.training), (" of real text", row.real_training)):
                if training is not None and (what or row.metric == "rppl"):
                    lines.append(f"judge {judge_of(row, self.results)}{what}: {_describe(training)}")
        return [Text(line) for line in ["", *lines]] if lines else []

    def warning_lines(self) -> list[RenderableType]:
        """What to be wary of, to be read before the figures."""
        lines = []
        concerned: dict[str, list[JudgedText]] = {}
        for row in self.results:
            for warning in row.warnings:
                concerned.setdefault(warning, []).append(row)
        for warning, rows in concerned.items():
            metrics = {row.metric for row in rows}
            everywhere = len(rows) == sum(row.metric in metrics for row in self.results)
            where = "" if everywhere else "; ".join(dict.fromkeys(self._name(row) for row in rows)) + ": "
            lines.append(f"warning: {where}{warning}")
        return [Text(line) for line in [*lines, *([""] if lines else [])]]

    def _name(self, row: JudgedText) -> str:
        """Which of the results this is, as short as they allow."""
        several_judges = len({other.judge for other in self.results}) > 1
        judge = judge_of(row, self.results) if several_judges else ""
        return f"{decoding_of(row, self.results)}, {judge}".strip(", ") or row.text


def decoding_of(row: Decoded | MetricSpread, rows: Sequence[Decoded] = ()) -> str:
    """`, T = 0.8, seed 2`: how a row's samples were decoded, the seed where `rows` have several."""
    parts = []
    if row.decode == "greedy":
        parts.append("greedy")
    elif row.temperature is not None:
        parts.append(f"T = {row.temperature:g}")
    if isinstance(row, Decoded) and row.prior_temperature is not None:
        parts.append(f"prior T = {row.prior_temperature:g}")
    if isinstance(row, Decoded) and row.guidance is not None:
        parts.append(f"guidance {row.guidance:g}")
    if isinstance(row, Decoded) and row.latents is not None:
        parts.append(f"{HEADROOM.get(row.latents, row.latents)} (no sampler)")
    if isinstance(row, Decoded) and len({other.seed for other in rows}) > 1:
        parts.append(f"seed {row.seed}")
    return "".join(f", {part}" for part in parts)


def outside(coverage: Coverage | None) -> str:
    """The share of a text's words that the vocabulary lacks, for a table; nothing where it is not known."""
    return "" if coverage is None else f"{coverage.outside:.1%}"


class Ruling(Protocol):
    """What a judge of some seed has found."""

    @property
    def judge(self) -> str: ...
    @property
    def judge_seed(self) -> int | None: ...


def judge_of(row: Ruling, rows: Iterable[Ruling]) -> str:
    """`lstm`, or `lstm #2` where `rows` have several seeds of it."""
    several = len({other.judge_seed for other in rows if other.judge == row.judge}) > 1
    return f"{row.judge} #{row.judge_seed}" if several else row.judge


def one_each(rows: Iterable[T], *names: str) -> list[T]:
    """The first row of every combination of attributes."""
    first: dict[tuple[object, ...], T] = {}
    for row in rows:
        first.setdefault(tuple(getattr(row, name) for name in names), row)
    return list(first.values())


def _describe(training: TrainingReport) -> str:
    kept = ", from the cache" if training.cached else ""
    return (
        f"{training.n_epochs} epochs in {training.seconds / 60:.1f} min, {training.precision}, "
        f"validation perplexity {training.valid_ppl:.2f}{kept}"
    )
