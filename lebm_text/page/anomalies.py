"""The report of `lebm-text anomaly eval`: how well each score tells anomalous sentences from normal ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .charts import Chart, Series, draw
from .html import Html, Section, details, element, number, table
from .run_files import RunFiles, dig, interval_of, is_figure, mappings, pairs_of

__all__ = ["anomalies", "is_anomaly"]

_WIDTH = 120  # of the drawing of an interval, from 0 to 1


def is_anomaly(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text anomaly eval`."""
    return report.get("metric") == "anomaly" and any(_results(contrast) for contrast in _contrasts(report))


def anomalies(run: RunFiles) -> Section | None:
    """The section; None without such a report."""
    parts: list[Html] = []
    for report in run.reports.values():
        if is_anomaly(report):
            normal = dig(report, "corpus", "name") or "the corpus"
            for contrast in _contrasts(report):
                parts += [_contrast(contrast, str(normal))] if _results(contrast) else []
                charts = [draw(chart) for chart in _curves(contrast)]
                parts += [element("div", *charts, class_="charts")] if charts else []
                parts += [_comparisons(contrast)] if contrast.get("comparisons") else []
    caption = (
        "Anomalies are the positive class. AUROC: the chance that an anomaly scores above a normal sentence, 0.5 for "
        "guessing. AUPRC: precision over all recalls; guessing gives the share of anomalies."
    )
    return Section("anomaly", "Anomaly detection", [element("p", caption), *parts]) if parts else None


def _contrast(contrast: Mapping[str, Any], normal: str) -> Html:
    share = contrast.get("share")
    title = f"{contrast.get('anomalies')} ({_count(contrast, 'n_anomalous')} sentences) among {normal} "
    title += f"({_count(contrast, 'n_normal')} sentences)"
    if is_figure(share):
        title += f"; guessing: AUPRC {number(share)}"
    headings = ["system", "score", "AUROC", "95 % interval", "0 to 1", "AUPRC", "95 % interval"]
    return table(title, headings, _rows(contrast))


def _rows(contrast: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for row in _results(contrast):
        score = f"{row.get('score')}{' a token' if row.get('per_token') else ''}"
        area, interval = row["auroc"], interval_of(row.get("auroc_ci95"))
        drawn = _drawn(area, row.get("auroc_ci95") if interval else [area, area])
        others = row.get("auprc"), interval_of(row.get("auprc_ci95"))
        yield str(row.get("system")), score, area, interval, drawn, *others


def _curves(contrast: Mapping[str, Any]) -> Iterator[Chart]:
    """ROC and precision over recall of each system's main score."""
    curves, share = contrast.get("curves"), contrast.get("share")
    systems = curves.items() if isinstance(curves, Mapping) else ()
    for key, title, caption, axes, levels in (
        (
            "roc",
            "ROC",
            "The more a curve is above the diagonal, the better; below it normal sentences score higher.",
            ("normal sentences above the threshold", "anomalies above it"),
            [],
        ),
        (
            "precision_over_recall",
            "Precision over recall",
            "Of the sentences above a threshold, how many are anomalies; guessing gives their share.",
            ("recall of anomalies", "precision"),
            [("guessing", share)] if is_figure(share) else [],
        ),
    ):
        series = [Series(str(label), pairs_of(dig(curve, key))) for label, curve in systems]
        if any(each.points for each in series):
            name = f"{title}: {contrast.get('anomalies')}"
            yield Chart(name, caption, *axes, series, levels=levels, logarithmic=False)


def _comparisons(contrast: Mapping[str, Any]) -> Html:
    """Where the models stand against the baselines, in the report's own words."""
    rows = [
        (
            str(row.get("model")),
            f"{row.get('baseline')}{' a token' if row.get('per_token') else ''}",
            row.get("auroc_difference"),
            interval_of(row.get("ci95")),
            row.get("model_is"),
        )
        for row in mappings(contrast.get("comparisons"))
    ]
    title = f"Models against baselines, {contrast.get('anomalies')}"
    return details(
        title, table(title, ["model", "baseline", "AUROC difference", "95 % interval", "the model is"], rows)
    )


def _drawn(value: float, interval: Any) -> Html:
    """The value and its interval as a mark on a line, beside a tick at 0.5; the numbers stand next to it."""
    low, high = (min(max(end, 0.0), 1.0) * _WIDTH for end in interval)
    parts = [
        element("path", d=f"M0 8H{_WIDTH}", class_="grid"),
        element("path", d=f"M{_WIDTH / 2:g} 2V14", class_="axis"),
        element("path", d=f"M{low:.1f} 8H{high:.1f}", class_="line"),
        element("circle", cx=round(min(max(value, 0.0), 1.0) * _WIDTH, 1), cy=8, r=4, class_="dot"),
    ]
    return element("svg", *parts, viewBox=f"-5 0 {_WIDTH + 10} 16", aria_hidden="true", class_="interval s0")


def _count(contrast: Mapping[str, Any], name: str) -> str:
    return f"{contrast[name]:,}" if is_figure(contrast.get(name)) else "?"


def _contrasts(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(report.get("contrasts"))


def _results(contrast: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in mappings(contrast.get("results")) if is_figure(row.get("auroc"))]
