"""The report of `lebm-text views`: where z of the prior, of sentences and of p0 lie, in a plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .charts import Chart, Series, draw
from .html import Section, element
from .run_files import RunFiles, dig, is_figure, pairs_of

__all__ = ["is_view", "views"]

_LABELS = {"p0": "p0 = N(0, I)", "prior": "prior chain", "posterior": "inferred from sentences"}
_MOST = 150  # points of a cloud that are drawn: enough for its shape


def is_view(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text views` with points that can be drawn."""
    return report.get("metric") == "views" and any(series.points for series in _clouds(report))


def views(run: RunFiles) -> Section | None:
    """The section; None without such a report."""
    charts = []
    for report in run.reports.values():
        if is_view(report):
            explained = report.get("explained")
            shares = explained if isinstance(explained, list) and all(map(is_figure, explained)) else []
            variance = f" The plane holds {sum(shares):.1%} of the variance." if shares else ""
            chart = Chart(
                "Latent vectors in a plane",
                f"Prior samples should cover the inferred z; where they do not, sentences are missed.{variance}",
                "first direction",
                "second direction",
                list(_clouds(report)),
            )
            charts.append(draw(chart))
    return Section("views", "Views of the latent space", [element("div", *charts, class_="charts")]) if charts else None


def _clouds(report: Mapping[str, Any]) -> Iterator[Series]:
    clouds = report.get("clouds")
    for name, cloud in clouds.items() if isinstance(clouds, Mapping) else ():
        yield Series(_LABELS.get(name, str(name)), pairs_of(dig(cloud, "coordinates"))[:_MOST], line=False)
