"""Figures of one seed of a row, read from its reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lebm_text.errors import InputError
from lebm_text.likelihood.estimates import Estimate
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.judged import JudgedText
from lebm_text.reports.likelihood import Likelihood
from lebm_text.run import Run
from lm_eval.diversity import BleuScore
from lm_eval.protocol import METRICS

from .rows import Row
from .statistics import GREEDY, Figures, Points, SeedInterval, normal_interval

__all__ = ["JUDGES", "ByDecoding", "SeedRun", "Sources", "likelihood_of", "meaning_of", "points_of", "variety_of"]

JUDGES = {"kn5": "frontier", "lstm": "lstm"}  # judge → file name of the report with its results
ByDecoding = dict[str, Figures]

_MEANING = ("frechet", "precision", "recall")


@dataclass
class Sources:
    """Figures of real text, signatures, environments and missing parts, collected while reports are read."""

    real: dict[str, dict[int, dict[str, float]]]  # kind → seed → figure → value
    signatures: dict[str, None]
    environments: dict[str, dict[str, Any]]
    missing: list[str]


@dataclass(frozen=True)
class SeedRun:
    """A run from the seed `number`, and its reports that match the experiment's settings."""

    number: int
    run: Run | None  # None for samples of another system
    judged: Mapping[str, Frontier]  # by judge
    likelihood: Likelihood | None


def points_of(seed: SeedRun, judge: str, row: Row, sources: Sources) -> Points:
    """Return the figures of a judge's report, by decoding: fppl, rppl, distinct, and frechet if it is there."""
    report, points = seed.judged.get(judge), Points()
    if report is None:
        return points
    for result in _of_row(report, row):
        point = points.setdefault(_decoding(result), {"distinct": 1 - result.samples.duplicate_rate})
        point[result.metric] = result.ppl
        if result.text in report.meaning:
            point["frechet"] = report.meaning[result.text].frechet
        sources.signatures[result.signature] = None
    if not all({*METRICS} <= point.keys() for point in points.values()):
        raise InputError(f"the report {JUDGES[judge]} of {row.name}, seed {seed.number}, lacks an FPPL or an RPPL")
    for real in report.real:
        fewer = {} if real.rppl_at_n is None else {"rppl_at_n": real.rppl_at_n}
        sources.real.setdefault(judge, {})[seed.number] = {"ppl": real.ppl, **fewer}
    return points


def _of_row(report: Frontier, row: Row) -> list[JudgedText]:
    """Return the results of a report for the latent vectors that the row specifies."""
    return [result for result in report.results if result.latents == row.decoding.latents]


def _decoding(result: JudgedText) -> str:
    """Return the name of a decoding; another system's samples count as T=1."""
    return GREEDY if result.decode == GREEDY else f"T={1.0 if result.temperature is None else result.temperature:g}"


def meaning_of(seed: SeedRun, row: Row, sources: Sources) -> ByDecoding:
    """Return the embedding scores by decoding, with the intervals of the report."""
    report = seed.judged.get("kn5")
    if report is None or report.real_meaning is None:
        return {}
    real = {name: getattr(report.real_meaning, name) for name in _MEANING}
    sources.real.setdefault("meaning", {})[seed.number] = real
    sources.signatures[report.real_meaning.signature] = None
    scores = {_decoding(result): report.meaning[result.text] for result in _of_row(report, row)}
    return {
        decoding: {name: SeedInterval(getattr(score, name), *score.ci95[name], 1) for name in _MEANING}
        for decoding, score in scores.items()
    }


def variety_of(seed: SeedRun, row: Row, sources: Sources) -> ByDecoding:
    """Return self-BLEU and the share of 4-grams found in the training text, by decoding."""

    def figures(bleu: BleuScore, shares: Mapping[str, float]) -> dict[str, float]:
        return {"self_bleu": bleu.score} | ({"in_train": shares["4"]} if "4" in shares else {})

    report, found = seed.judged.get("kn5"), ByDecoding()
    for result in [] if report is None else _of_row(report, row):
        if (variety := result.diversity) is not None:
            own = figures(variety.self_bleu, variety.in_train)
            found[_decoding(result)] = {name: SeedInterval(value) for name, value in own.items()}
            real = figures(variety.real_self_bleu, variety.real_in_train)
            sources.real.setdefault("variety", {})[seed.number] = real
            sources.signatures |= dict.fromkeys((variety.self_bleu.signature, variety.signature))
    return found


def likelihood_of(report: Likelihood, sources: Sources) -> Figures:
    """Return the figures of a likelihood report that the table shows, with their intervals over sentences."""
    sources.signatures[report.signature] = None
    whole, latent, log_z = report.exact_of_all, report.latent, report.log_z
    found = {}
    if (bound := report.ais if whole is None else report.exact) is not None:  # there is none with -n 0
        found["nll"] = normal_interval(bound.nll, bound.nll_standard_error)
        found["perplexity"] = normal_interval(bound.perplexity, bound.perplexity_standard_error)
    if whole is not None:
        found["perplexity_of_all"] = normal_interval(whole.perplexity, whole.perplexity_standard_error)
    estimates: dict[str, Estimate | None] = {
        "chain_gap": report.chain_gap,
        "encoder_kl": report.encoder_kl,
        "log_z": None if log_z is None else log_z.reverse,
        "reconstruction_nll": None if latent is None else latent.reconstruction_nll,
        "information": None if latent is None else latent.information,
    }
    for key, estimate in estimates.items():
        if estimate is not None:
            found[key] = normal_interval(estimate.value, estimate.standard_error)
    if latent is not None and latent.active_units is not None:
        found["active_units"] = SeedInterval(latent.active_units)
    if report.ais is not None:
        found["chain_ess"] = SeedInterval(report.ais.ess.median)
    return found
