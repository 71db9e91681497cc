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
            drawn = decoding != GREEDY  # which is no part of a frontier
            ratios[decoding] |= {
                "rppl_at_second": _at_equal_fppl([(a, b[decoding]) for a, b in both]) if drawn else None,
                "rppl_at_first": _inverse(_at_equal_fppl([(b, a[decoding]) for a, b in both])) if drawn else None,
            }
    return {"first": pair[0], "second": pair[1], "ratios": ratios}


def distance(known: Mapping[str, float], points: Mapping[int, Points]) -> dict[str, Any] | None:
    """How far a row's frontier is from one point, in RPPL; None if it does not reach the point's FPPL."""
    return _at_equal_fppl([(seed, known) for seed in points.values()]) if {*METRICS} <= known.keys() else None


def _at_equal_fppl(pairs: Sequence[tuple[Points, Mapping[str, float]]]) -> dict[str, Any] | None:
    """Of a frontier's RPPL to a point's, where the frontier has the point's FPPL; None if one of the pairs has none."""
    equal = [(rppl_at(point["fppl"], _frontier(points)), point["rppl"]) for points, point in pairs]
    reached = [(at, rppl) for at, rppl in equal if at is not None]
    return _ratio(reached) if len(reached) == len(pairs) else None


def _inverse(ratio: dict[str, Any] | None) -> dict[str, Any] | None:
    """second / first as first / second."""
    if ratio is None:
        return None
    value, low, high = (None if ratio[key] is None else 1 / ratio[key] for key in ("value", "low", "high"))
    return ratio | {"value": value, "low": high, "high": low}


def _ratio(pairs: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    return asdict(paired_ratio(*zip(*pairs, strict=True))) if pairs else None


def _frontier(points: Points) -> list[tuple[float, float]]:
    return [(point["fppl"], point["rppl"]) for decoding, point in points.items() if decoding != GREEDY]
