"""Comparison of the figures of reports: which differ by more than their intervals, and which cannot be compared.

Two figures are compared if their signatures differ only in the model, its seeds and the version. The standard error of
a difference is √(se₁² + se₂²), or, if both have the same seeds or sentences, that of the paired differences.
Perplexities are compared in logarithms, so that their difference becomes a ratio.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from statistics import fmean

from lebm_text.errors import InputError
from lebm_text.generation.samples import SAMPLES
from lebm_text.likelihood.estimates import TextLikelihood
from lebm_text.reports import load
from lebm_text.reports.base import Report
from lebm_text.reports.embedding import Embedding
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.judged import CorpusSplit, Decoded, Judged, decoding_of, listing, name_of, one_each
from lebm_text.reports.likelihood import Likelihood, TextDescription
from lebm_text.reports.signatures import split_fields
from lebm_text.run import Run
from lm_eval.embedding import EmbeddingScore
from lm_eval.intervals import NORMAL975
from lm_eval.perplexity import ppl_of

from .statistics import SeedInterval, mean_interval, normal_interval

__all__ = ["ComparedFigure", "FigureDifference", "compare", "read_figures"]

BySeed = dict[tuple[int | None, ...], float]

logger = logging.getLogger(__name__)

_HASH = "sha256 "  # prefix of conditions that are hashes
_OF_SYSTEM = ("prior:", "posterior:", "seed:", "judge-seed:", "v:", "samples:")
_BARE, _DECODED = re.compile(r"samples\(n=\d+\)"), re.compile(r"samples\(n=\d+,")


@dataclass(frozen=True)
class ComparedFigure:
    """A figure of one system, with the conditions under which it was computed.

    Attributes:
        metric: readable name, such as `RPPL by kn5, T = 1`.
        text: name of the real text, such as `ptb-test`.
        conditions: fields of the signature that must agree for a comparison, and hashes and counts of the texts.
        by_seed: seeds → value; for a perplexity its logarithm.
        standard_error: of one value, over sentences; None if it is not known.
        is_log: whether values are logarithms.
        sentences: values by sentence, if they are known, in an order that depends only on the text.
    """

    metric: str
    text: str
    conditions: tuple[str, ...]
    by_seed: BySeed
    standard_error: float | None
    is_log: bool
    sentences: tuple[float, ...] = field(default=(), repr=False)

    @property
    def value(self) -> float:
        """The mean over seeds; for logarithms its exponential."""
        mean = fmean(self.by_seed.values())
        return math.exp(mean) if self.is_log else mean


@dataclass(frozen=True)
class FigureDifference:
    """A figure of two systems, and the ratio second / first or the difference second − first.

    Attributes:
        values: the figure of both systems, a mean over their seeds or, if these are paired, over those that both have;
            None if a system lacks it or has it only under other conditions.
        interval: the ratio or difference; None if the figures cannot be compared.
        rule: how the interval was computed.
        why: why the figures cannot be compared, else empty.
    """

    metric: str
    values: tuple[float | None, float | None]
    interval: SeedInterval | None = None
    is_ratio: bool = False
    rule: str = ""
    why: str = ""

    @property
    def is_beyond(self) -> bool:
        """Whether the interval is known and does not contain 0, or 1 for a ratio."""
        if (found := self.interval) is None or found.low is None or found.high is None:
            return False
        return not found.low <= (1.0 if self.is_ratio else 0.0) <= found.high


def compare(first: Sequence[ComparedFigure], second: Sequence[ComparedFigure]) -> list[FigureDifference]:
    """Compare the figures of two systems: return a row for each of `first`, then for those that only `second` has."""
    names = _names([*first, *second])
    of_first, of_second = ([replace(each, metric=names[each.conditions]) for each in some] for some in (first, second))
    found, seen = [], set()
    for figure in of_first:
        nearest = _nearest(figure, of_second)
        found.append(_difference(figure, nearest))
        seen.add(nearest and nearest.conditions)
    for figure in of_second:
        if figure.conditions not in seen:
            near = _nearest(figure, of_first)
            why = "the first has no such figure" if near is None else _why(near, figure)
            found.append(FigureDifference(figure.metric, (None, figure.value), why=why))
    return found


def read_figures(path: Path) -> dict[str, list[ComparedFigure]]:
    """Read the figures of a report, or of all reports of a run, by system; values for several seeds are merged.

    A report of several texts has a system for each, by its name; others are one, named by `path`. A warning is logged
    for each report that is left out.

    Raises:
        InputError: no report has figures to compare, or a report is damaged.
    """
    if path.is_dir():
        run = Run(path)
        reports = run.reports()
        left_out = [note.replace(f"{path}/", "") for note in run.notes]
    else:
        try:
            reports, left_out = {path.stem: load(path)}, []
        except InputError as error:
            if path.suffix == ".json" or not path.is_file():
                raise
            first = f"lebm-text fppl --samples {quote(str(path))} --corpus NAME -o {quote(path.stem)}.json"
            raise InputError(f"{path} is no report ({error}); of a text, make one first: {first}") from None
    merged: dict[str, dict[tuple[str, ...], ComparedFigure]] = {}
    for name, report in reports.items():
        if isinstance(report, Judged) and any(min(row.ppl, *row.ci95) <= 0 for row in report.results):
            raise InputError(f"{name}.json is damaged: it has a perplexity that is not above 0")
        figures = list(_figures_of(report))
        if isinstance(report, Likelihood) and not figures:
            left_out.append(f"{name}.json: log p(x) of no sentences, neither exact nor from below (likelihood -n 0)")
        for system, found in figures:
            earlier = merged.setdefault(system or str(path), {}).setdefault(found.conditions, found)
            earlier.by_seed.update(found.by_seed)
    if not merged:
        more = f" ({'; '.join(left_out)})" if left_out else ""
        first = f"; make one first: lebm-text evaluate --run {quote(str(path))}" if path.is_dir() else ""
        raise InputError(f"{path} has no report of evaluate, fppl, rppl, likelihood or fed to compare{more}{first}")
    for reason in left_out:
        logger.warning(f"not compared, of {path}: {reason}")
    return {system: list(figures.values()) for system, figures in merged.items()}


def _names(figures: Sequence[ComparedFigure]) -> dict[tuple[str, ...], str]:
    """Return a unique name for each figure by its conditions: equal names get the text, or whatever else differs."""
    distinct = {figure.conditions: figure for figure in figures}
    names = {conditions: figure.metric for conditions, figure in distinct.items()}
    labels: tuple[Callable[[ComparedFigure], Iterable[str]], ...] = (
        lambda figure: [figure.text],
        lambda figure: [each for each in figure.conditions if not each.startswith(_HASH)],
        lambda figure: figure.conditions,
    )
    for label in labels:
        for name in set(names.values()):
            alike = [conditions for conditions, given in names.items() if given == name]
            shared = set.intersection(*(set(label(distinct[each])) for each in alike))
            for each in alike:
                own = [text for text in label(distinct[each]) if text not in shared]
                names[each] += f" ({', '.join(own)})" if own else ""
    return names


def _figures_of(report: Report) -> Iterator[tuple[str | None, ComparedFigure]]:
    """Yield the figures of a report, each with the name of its text if the report has several."""
    if isinstance(report, Judged):
        for row in report.results:
            name = listing(f"{row.metric.upper()} by {row.judge}", _decoding(row))
            error = (math.log(row.ci95[1]) - math.log(row.ci95[0])) / (2 * NORMAL975)
            splits = [*(["train"] if row.metric == "fppl" else []), *(["valid"] if row.judge == "lstm" else [])]
            learned = [f"{_HASH}of the {split} text:{report.sha256.get(split, '')[:12]}" for split in splits]
            conditions = (*_conditions(row.signature, _held_out(report)), *learned)
            by_seed: BySeed = {(row.seed, row.judge_seed): math.log(row.ppl)}
            yield name_of(row.text), ComparedFigure(name, _text(report.corpus), conditions, by_seed, error, True)
        if isinstance(report, Frontier):
            points = one_each(report.every, "text")
            yield from (_fed(report.meaning[row.text], row, report) for row in points if row.text in report.meaning)
    elif isinstance(report, Embedding):
        yield from (_fed(score, score, report) for score in report.results)
    elif isinstance(report, Likelihood):
        texts = {
            text.n_sentences: text for text in (report.exact_of_all, report.ais or report.exact) if text is not None
        }
        yield from ((None, _log_likelihood(text, report)) for text in texts.values())


def _log_likelihood(text: TextLikelihood, report: Likelihood) -> ComparedFigure:
    corpus = report.corpus
    which = f"sentences:{text.n_sentences}", f"too long:{corpus.n_left_out}", f"unknown:{corpus.n_unk}"
    lower = [row.log_p_lower for row in report.sentences[: text.n_sentences]]
    values = tuple(-value for value in lower if value is not None)
    sentences = values if len(values) == text.n_sentences else ()
    conditions, error = (*_conditions(report.signature, corpus.sha256), *which), text.nll_standard_error
    return ComparedFigure("nll per sentence, nats", _text(corpus), conditions, {(): text.nll}, error, False, sentences)


def _decoding(row: Decoded) -> str:
    """Return how a text was decoded, without its name."""
    return decoding_of(replace(row, text=SAMPLES))


def _fed(score: EmbeddingScore, row: Decoded, report: Embedding | Judged) -> tuple[str | None, ComparedFigure]:
    decoding, (low, high) = _decoding(row), score.ci95["frechet"]
    conditions = (*_conditions(score.signature, _held_out(report)), decoding)
    by_seed: BySeed = {(row.seed,): score.frechet}
    error = (high - low) / (2 * NORMAL975)
    figure = ComparedFigure(listing("FED", decoding), _text(report.corpus), conditions, by_seed, error, False)
    return name_of(row.text), figure


def _text(corpus: CorpusSplit | TextDescription) -> str:
    return f"{corpus.name}-{corpus.split}"


def _held_out(report: Report) -> str | None:
    return report.sha256.get("test", report.sha256.get("valid"))


def _conditions(signature: str, sha256: str | None) -> tuple[str, ...]:
    fields = [each for each in split_fields(signature, "|") if not each.startswith(_OF_SYSTEM)]
    return (*fields, f"{_HASH}of the held-out text:{(sha256 or '')[:12]}")


def _nearest(figure: ComparedFigure, others: Sequence[ComparedFigure]) -> ComparedFigure | None:
    """Return the figure of the same kind whose conditions differ least; None if there is none."""
    same = [other for other in others if other.conditions[0] == figure.conditions[0]]
    return min(same, key=lambda other: len(set(other.conditions) ^ set(figure.conditions)), default=None)


def _difference(first: ComparedFigure, second: ComparedFigure | None) -> FigureDifference:
    if second is None or second.conditions != first.conditions:
        why = "the other has no such figure" if second is None else _why(first, second)
        return FigureDifference(first.metric, (first.value, None), why=why)
    seeds = [seed for seed in first.by_seed if seed in second.by_seed]
    if len(seeds) > 1:  # the values are of the pairs, too: those of other seeds could contradict the ratio
        first, second = (
            replace(each, by_seed={seed: each.by_seed[seed] for seed in seeds}) for each in (first, second)
        )
        found, rule = mean_interval([second.by_seed[seed] - first.by_seed[seed] for seed in seeds]), "paired, seeds"
    elif first.sentences and len(first.sentences) == len(second.sentences):
        pairs = zip(first.sentences, second.sentences, strict=True)
        found, rule = mean_interval([b - a for a, b in pairs]), "paired, sentences"
    else:
        difference = fmean(second.by_seed.values()) - fmean(first.by_seed.values())
        found, rule = SeedInterval(difference), "independent"
        if first.standard_error is not None and second.standard_error is not None:
            found = normal_interval(difference, math.hypot(first.standard_error, second.standard_error))
    found = found.mapped(ppl_of) if first.is_log else found
    return FigureDifference(first.metric, (first.value, second.value), found, first.is_log, rule)


def _why(first: ComparedFigure, second: ComparedFigure) -> str:
    """Describe how the conditions of two figures differ."""
    mine, its = (
        ", ".join(each for each in a.conditions if each not in b.conditions) or "nothing"
        for a, b in ((first, second), (second, first))
    )
    return f"{mine} against {its}{_way_round(mine, its)}"


def _way_round(mine: str, its: str) -> str:
    """Say how to compare all the same if the decoding of one side's samples is not recorded; else return nothing."""
    for this, other, bare, decoded in (("A", "B", mine, its), ("B", "A", its, mine)):
        if _BARE.search(bare) and _DECODED.search(decoded):
            todo = f"judge {other}'s as a plain file, too (lebm-text generate > FILE)"
            return f"; how {this}'s sentences were drawn is not recorded: {todo}"
    return ""
