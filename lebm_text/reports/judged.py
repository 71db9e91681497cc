"""Results of judging texts by perplexity: the classes and formatting that several reports share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lebm_text.generation.samples import SAMPLES
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
    "listing",
    "name_of",
    "one_each",
    "outside",
]

T = TypeVar("T")

HEADROOM = {"posterior": "z⁺ of training text", "long": "prior chain × 10"}
"""Sources of z that are not samplers of the model → their names in tables."""

OUTSIDE = "outside vocab."
"""Heading of the column with the values of `outside`."""


@dataclass(frozen=True)
class CorpusSplit:
    """The held-out real text."""

    name: str
    split: str


@dataclass(frozen=True, kw_only=True)
class SamplesSummary(SampleSummary):
    """A summary of samples.

    Attributes:
        path: of their file; None if they are in no file.
        length_distance: distance between the length distributions of samples and training text, in words. It is not the
            held-out text, since some corpora hold out sentences of another length.
    """

    path: str | None
    length_distance: float


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A text of samples, and how it was decoded, as far as that is known.

    Attributes:
        text: its label; see `name_of`.
        decode: sample, greedy or beam.
        temperature: of sampling; None for other decodings.
        seed: of the draws.
        prior_temperature: None if it is 1.
        guidance: None if it is 1.
        latents: None for samples of the model; `long`: z are from a prior chain ten times as long; `posterior`: z are
            z⁺ of training sentences.
    """

    text: str
    decode: str | None = None
    temperature: float | None = None
    seed: int | None = None
    prior_temperature: float | None = None
    guidance: float | None = None
    latents: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgedText(Decoded, JudgeResult):
    """The result of one judge for one text and one metric.

    Summaries describe the text, the held-out real text and the real training text.
    """

    samples: SamplesSummary
    real: SampleSummary
    train: SampleSummary
    diversity: Diversity | None = None


@dataclass(frozen=True, kw_only=True)
class MetricSpread:
    """Mean and standard deviations over seeds, for one metric, judge, text (None: those of a run) and decoding."""

    metric: str
    text: str | None = None
    judge: str
    decode: str | None = None
    temperature: float | None = None
    ppl: SeedSpread
    ratio: SeedSpread
    real_ppl: SeedSpread


@dataclass(frozen=True, kw_only=True)
class Judged(Report):
    """Base class of reports with the results of all judges for all texts, and the spread over seeds."""

    corpus: CorpusSplit
    results: list[JudgedText]
    spread: list[MetricSpread]

    def described(self, *tables: Table, lines: Iterable[str]) -> Group:
        """Return tables, with the warnings about results above, and `lines` and those on seeds and judges below."""
        warnings, training = list(self._warning_lines()), list(self._training_lines())
        above, below = [*warnings, ""] if warnings else [], ["", *training] if training else []
        return Group(*map(Text, above), *tables, *map(Text, [*self._spread_lines(), *lines, *below]))

    def _spread_lines(self) -> Iterator[str]:
        """Yield the spread over seeds."""
        for row in self.spread:
            of_samples = f"{listing(row.metric.upper(), decoding_of(row))} by {row.judge}"
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
                    yield f"{label}: mean {figure.mean:.2f}, {', '.join(deviations)}"

    def _training_lines(self) -> Iterator[str]:
        """Yield how judges were trained."""
        for row in one_each(self.results, "judge", "judge_seed"):
            for what, training in (("", row.training), (" of real text", row.real_training)):
                if training is not None and (what or row.metric == "rppl"):
                    yield f"judge {judge_of(row, self.results)}{what}: {_describe(training)}"

    def _warning_lines(self) -> Iterator[str]:
        """Yield the warnings about results, each once, with the results that it concerns."""
        concerned: dict[str, list[JudgedText]] = {}
        for row in self.results:
            for warning in row.warnings:
                concerned.setdefault(warning, []).append(row)
        for warning, rows in concerned.items():
            metrics = {row.metric for row in rows}
            everywhere = len(rows) == sum(row.metric in metrics for row in self.results)
            where = "" if everywhere else "; ".join(dict.fromkeys(self._name(row) for row in rows)) + ": "
            yield f"warning: {where}{warning}"

    def _name(self, row: JudgedText) -> str:
        """Return a short name that distinguishes a result from the others."""
        several_judges = len({other.judge for other in self.results}) > 1
        judge = judge_of(row, self.results) if several_judges else ""
        return listing(decoding_of(row, self.results), judge) or row.text


def listing(*parts: str) -> str:
    """Return the parts that are not empty, with commas between them."""
    return ", ".join(filter(None, parts))


def name_of(label: str | None) -> str | None:
    """Return the name that a text has as one of several; None for a single text and for those of a run."""
    return None if label is None or label.partition(",")[0] == SAMPLES else label


def decoding_of(row: Decoded | MetricSpread, rows: Sequence[Decoded] = ()) -> str:
    """Describe how a row's samples were decoded, as in `T = 0.8, seed 2`; empty if that is not known.

    The name of one of several texts comes first. The seed is named if `rows` have several.
    """
    name = name_of(row.text)
    parts = [] if name is None else [name]
    if row.decode == "greedy":
        parts.append("greedy")
    elif row.temperature is not None:
        parts.append(f"T = {row.temperature:g}")
    if isinstance(row, Decoded):
        parts += [] if row.prior_temperature is None else [f"prior T = {row.prior_temperature:g}"]
        parts += [] if row.guidance is None else [f"guidance {row.guidance:g}"]
        parts += [] if row.latents is None else [f"{HEADROOM.get(row.latents, row.latents)} (no sampler)"]
        parts += [f"seed {row.seed}"] if row.seed is not None and len({other.seed for other in rows}) > 1 else []
    return ", ".join(parts)


def outside(coverage: Coverage | None) -> str:
    """Format the share of words outside the vocabulary, for a table; empty if it is not known."""
    return "" if coverage is None else f"{coverage.outside:.1%}"


class Ruling(Protocol):
    """A result of a judge, which may have a seed."""

    @property
    def judge(self) -> str: ...
    @property
    def judge_seed(self) -> int | None: ...


def judge_of(row: Ruling, rows: Iterable[Ruling]) -> str:
    """Return the name of a judge, such as `lstm`; `lstm #2` if `rows` have several seeds of it."""
    several = len({other.judge_seed for other in rows if other.judge == row.judge}) > 1
    return f"{row.judge} #{row.judge_seed}" if several else row.judge


def one_each(rows: Iterable[T], *names: str) -> list[T]:
    """Return the first row of each combination of values of the named attributes."""
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
