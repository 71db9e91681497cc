"""Evaluations: FPPL and RPPL beside real text, the texts' look, and FPPL against RPPL over decodings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .charts import Chart, Series, draw
from .html import Html, Section, element, table
from .run_files import RunFiles, dig, interval_of, is_figure, mappings, text_of

__all__ = ["evaluations", "frontiers", "is_frontier", "is_judged"]

_SHARES = {
    "empty_rate": "empty",
    "truncated_rate": "cut off",
    "duplicate_rate": "duplicates",
    "in_train_rate": "copied from training",
    "unk_rate": "with <unk>",
}


def is_judged(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text fppl` or `rppl`."""
    return report.get("metric") in ("fppl", "rppl") and bool(mappings(report.get("results")))


def is_frontier(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text evaluate`."""
    return report.get("kind", report.get("metric")) == "frontier" and bool(_points(report))


def evaluations(run: RunFiles) -> Section | None:
    """The section of FPPL and RPPL; None without such a report."""
    reports = {name: report for name, report in run.reports.items() if is_judged(report)}
    if not reports:
        return None
    explained = (
        "FPPL: a judge trained on real text reads the samples (are they fluent?). RPPL: a judge trained on the samples "
        "reads real text (do they cover it?). Lower is better, down to the row of real text; a lower FPPL is no win."
    )
    parts = [element("p", explained)]
    for report in reports.values():
        metric = str(report["metric"]).upper()
        heading = f"{metric} on {text_of(report)}"
        parts.append(table(heading, ["text", "judge", metric, "95 % interval", "ratio to real"], _judged(report)))
        parts += _warnings(report)
    rows = _looks([row for report in reports.values() for row in mappings(report.get("results"))])
    if rows:
        parts.append(table("What the texts look like", ["text", "sentences", "words each", *_SHARES.values()], rows))
    return Section("evaluations", "Evaluations", parts)


def frontiers(run: RunFiles) -> Section | None:
    """The section of FPPL against RPPL; None without such a report."""
    reports = [report for report in run.reports.values() if is_frontier(report)]
    if not reports:
        return None
    parts = []
    for report in reports:
        charts = [draw(chart) for chart in _charts(report)]
        rows = [
            (
                _made(point),
                point.get("judge"),
                *(point.get(key) for key in ("fppl", "fppl_ratio", "rppl", "rppl_ratio")),
            )
            for point in _points(report)
        ]
        rows += [("real text", real["judge"], real["ppl"], 1.0, real["ppl"], 1.0) for real in _real(report)]
        headings = ["decoding", "judge", "FPPL", "ratio to real", "RPPL", "ratio to real"]
        parts += [element("div", *charts, class_="charts"), table(f"On {text_of(report)}", headings, rows)]
        parts += _warnings(report)
    return Section("frontier", "Fluency against coverage", parts)


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    points, real = _points(report), _real(report)
    for judge in dict.fromkeys(str(point.get("judge")) for point in points):
        of_judge = [point for point in points if str(point.get("judge")) == judge]
        drawn = sorted(
            (point for point in of_judge if is_figure(point.get("temperature"))), key=lambda point: point["temperature"]
        )
        others = [point for point in of_judge if point not in drawn]
        stars = [(row["ppl"], row["ppl"]) for row in real if str(row["judge"]) == judge]
        series = [Series("decoding temperatures", [_position(point) for point in drawn], [*map(_made, drawn)])]
        series.append(Series("other texts", [_position(point) for point in others], [*map(_made, others)], line=False))
        series.append(Series("real text", stars, ["real"] * len(stars), line=False))
        yield Chart(
            f"FPPL against RPPL, judge {judge}",
            "Each point is a decoding; towards real text is better, and a point left of it is too easy a text, which a "
            "single lucky decoding would hide.",
            "FPPL (fluency)",
            "RPPL (coverage)",
            series,
            logarithmic=True,
            log_x=True,
        )


def _judged(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    results = mappings(report.get("results"))
    for row in results:
        yield f"samples, {_made(row)}", row.get("judge"), row.get("ppl"), interval_of(row.get("ci95")), row.get("ratio")
    seen = set()
    for row in results:
        judge = (row.get("judge"), row.get("judge_seed"))
        if judge not in seen:
            seen.add(judge)
            yield "real text", judge[0], row.get("real_ppl"), interval_of(row.get("real_ci95")), 1.0
            fewer = dig(row, "extra", "real_ppl_at_n")
            if fewer is not None:
                yield "real text, as many sentences", judge[0], fewer, None, None
    for row in mappings(report.get("calibration")):
        yield row.get("text"), row.get("judge"), row.get("ppl"), None, row.get("ratio")


def _looks(results: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    rows: dict[str, tuple[Any, ...]] = {}
    for row in results:
        rows.setdefault(_made(row), _look(_made(row), row.get("samples")))
    if results:
        rows["real text, held out"] = _look("real text, held out", results[0].get("real"))
    return [row for row in rows.values() if row[1] is not None]


def _look(label: str, look: Any) -> tuple[Any, ...]:
    shares = [dig(look, key) for key in _SHARES]
    shown = [f"{share:.1%}" if is_figure(share) else None for share in shares]
    return label, dig(look, "n_sentences"), dig(look, "mean_length"), *shown


def _warnings(report: Mapping[str, Any]) -> list[Html]:
    said = dict.fromkeys(
        f"{_made(row)}: {message}"
        for row in mappings(report.get("results"))
        for message in (row["warnings"] if isinstance(row.get("warnings"), list) else [])
    )
    return [element("ul", *(element("li", message) for message in said), class_="warnings")] if said else []


def _points(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        point for point in mappings(report.get("points")) if all(_positive(point.get(key)) for key in ("fppl", "rppl"))
    ]


def _real(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in mappings(report.get("real")) if _positive(row.get("ppl")) and "judge" in row]


def _positive(value: Any) -> bool:
    return is_figure(value) and value > 0


def _position(point: Mapping[str, Any]) -> tuple[float, float]:
    return point["fppl"], point["rppl"]


def _made(row: Mapping[str, Any]) -> str:
    if row.get("decode") == "greedy":
        return "greedy"
    if is_figure(row.get("temperature")):
        return f"T = {row['temperature']:g}"
    return str(row.get("text", "samples"))
