"""The report of `lebm-text directions`: how well z tells an attribute, and what moving along its direction does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .charts import Chart, Series, draw
from .html import Html, Section, details, element, table
from .run_files import RunFiles, dig, is_figure, mappings

__all__ = ["directions", "is_directions"]

_PROBES = {"probe": "probe of z", "bag_of_words": "bag of words"}
_MOVES = {"attribute": "along the direction", "random": "a random one"}


def is_directions(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text directions` with accuracies that can be drawn."""
    return report.get("metric") == "directions" and any(series.points for series in _accuracies(report))


def directions(run: RunFiles) -> Section | None:
    """The section; None without such a report."""
    parts: list[Html] = []
    for report in run.reports.values():
        if is_directions(report):
            parts.append(element("div", *(draw(chart) for chart in _charts(report)), class_="charts"))
            parts += _sentences(report)
    return Section("directions", "Direction of an attribute", parts) if parts else None


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    majority = report.get("majority")
    yield Chart(
        "Accuracy on held-out sentences",
        f"A logistic regression tells {report.get('positive')!r} from the rest, by means of z and by words.",
        "labelled sentences",
        "accuracy",
        list(_accuracies(report)),
        levels=[("majority", majority)] if is_figure(majority) else [],
        logarithmic=False,
        log_x=True,
    )
    moves = [series for series in _moves(report) if series.points]
    if moves:
        caption = (
            "Share of moved sentences that a bag of words takes for positive. A random direction should do nothing."
        )
        yield Chart(
            "Sentences moved", caption, "shift, standard deviations", "taken for positive", moves, logarithmic=False
        )


def _accuracies(report: Mapping[str, Any]) -> Iterator[Series]:
    rows = [row for row in mappings(report.get("accuracy")) if is_figure(row.get("n")) and row["n"] > 0]
    for key, label in _PROBES.items():
        means = [(row["n"], dig(row, key, "mean"), dig(row, key, "spread")) for row in rows]
        points = [(n, mean) for n, mean, _ in means if is_figure(mean)]
        spreads = [(n, mean - s, mean + s) for n, mean, s in means if is_figure(mean) and is_figure(s)]
        yield Series(label, points, band=spreads)


def _moves(report: Mapping[str, Any]) -> Iterator[Series]:
    for key, label in _MOVES.items():
        rows = [(row.get("shift"), row.get("share_positive")) for row in mappings(dig(report, "moved", key))]
        yield Series(label, [(shift, share) for shift, share in rows if is_figure(shift) and is_figure(share)])


def _sentences(report: Mapping[str, Any]) -> Iterator[Html]:
    """A table a sentence: what it becomes at each shift."""
    for entry in mappings(report.get("sentences")):
        source = str(entry.get("input", ""))
        rows = [
            (str(row.get("shift", "")), element("bdi", row["sentence"], dir="auto"))
            for row in mappings(entry.get("moved"))
            if isinstance(row.get("sentence"), str)
        ]
        yield details(f"Moved: {source}", table(f"Moved: {source}", ["shift", "sentence"], rows))
