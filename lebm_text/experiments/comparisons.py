"""Two rows of an experiment compared seed by seed: at equal decoding, and at equal FPPL.

FPPL and RPPL are bought from each other by temperature: of two rows one is often the better on one and the worse on the
other. Where both have the same FPPL, the lower RPPL is the better frontier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .statistics import paired_ratio, rppl_at
from .steps import METRICS

__all__ = ["GREEDY", "Points", "comparison", "distance"]

GREEDY = "greedy"
Points = dict[str, dict[str, float]]  # decoding → figure → value


def comparison(pair: tuple[str, str], points: dict[str, dict[int, Points]]) -> dict[str, Any]:
    """Ratios first / second of fppl and rppl by decoding, over the seeds that both have.

    `rppl_at_second`: the first row's RPPL where, at some temperature between those judged, its FPPL is the second's at
    this one, over the second's; `rppl_at_first`: the first row's at this temperature over the second's where it has the
    first's FPPL. None beyond the ends of a frontier, for one of the seeds at least, and for greedy decoding.
    """
    first, second = (points[name] for name in pair)
    seeds = [seed for seed in first if seed in second]
    decodings = dict.fromkeys(decoding for seed in first.values() for decoding in seed)
    ratios: dict[str, dict[str, Any]] = {}
    for decoding in decodings:
        both = [(first[s], second[s]) for s in seeds if decoding in first[s] and decoding in second[s]]
        if both:
            ratios[decoding] = {
                metric: _ratio([(a[decoding][metric], b[decoding][metric]) for a, b in both]) for metric in METRICS
            }
            if decoding == GREEDY:  # no part of a frontier
                both = []
            at_second = _at_equal_fppl([(a, b[decoding]) for a, b in both])
            at_first = _at_equal_fppl([(b, a[decoding]) for a, b in both])
            ratios[decoding]["rppl_at_second"] = _ratio(at_second)
            ratios[decoding]["rppl_at_first"] = _ratio([(first_rppl, at) for at, first_rppl in at_first])
    return {"first": pair[0], "second": pair[1], "ratios": ratios}


def distance(known: Mapping[str, float], points: Mapping[int, Points]) -> dict[str, Any] | None:
    """How far a row's frontier is from one point, in RPPL; None if it does not reach the point's FPPL."""
    return _ratio(_at_equal_fppl([(seed, known) for seed in points.values()])) if {*METRICS} <= known.keys() else None


def _at_equal_fppl(pairs: Sequence[tuple[Points, Mapping[str, float]]]) -> list[tuple[float, float]]:
    """(RPPL of a frontier where it has a point's FPPL, the point's RPPL); none at all if one of the pairs has none."""
    equal = [(rppl_at(point["fppl"], _frontier(points)), point["rppl"]) for points, point in pairs]
    reached = [(at, rppl) for at, rppl in equal if at is not None]
    return reached if len(reached) == len(pairs) else []


def _ratio(pairs: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    return asdict(paired_ratio(*zip(*pairs, strict=True))) if pairs else None


def _frontier(points: Points) -> list[tuple[float, float]]:
    return [(point["fppl"], point["rppl"]) for decoding, point in points.items() if decoding != GREEDY]
