"""The report of `lebm-text trajectories`: the chains that draw z from the prior, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .charts import Chart, Series, draw
from .html import Html, Section, details, element, table
from .run_files import RunFiles, dig, interval_of, is_figure

__all__ = ["is_trajectories", "trajectories"]

# key of `bands` → title, unit, what to look for
_BANDS = {
    "neg_energy": ("Energy along the chain", "f(z), nats", "The learned term should rise from its start and settle."),
    "logdensity": ("Log density along the chain", "f(z) + log p0(z), nats", "What the chain climbs, up to a constant."),
    "norm": ("Norm along the chain", "‖z‖", "How far from the origin the chains live."),
    "gradient_norm": ("Gradient along the chain", "‖∇ log density‖", "How steep it is where the chains are."),
}
_BAND = "Line: median of the chains, band: 5 % to 95 %."


def is_trajectories(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text trajectories` with curves that can be drawn."""
    return report.get("metric") == "trajectories" and any(_band(dig(report, "bands", name)) for name in _BANDS)


def trajectories(run: RunFiles) -> Section | None:
    """The section; None without such a report."""
    parts: list[Html] = []
    for report in run.reports.values():
        if is_trajectories(report):
            parts.append(element("div", *(draw(chart) for chart in _charts(report)), class_="charts"))
            said = report.get("statements")
            if isinstance(said, list) and said:
                parts.append(element("ul", *(element("li", str(line)) for line in said)))
            parts += _sentences(report)
    caption = (
        "Chains of Langevin steps from N(0, I) under the learned prior: what the tilt does to z and to its sentences."
    )
    return (
        Section("trajectories", "Trajectories of the prior chain", [element("p", caption), *parts]) if parts else None
    )


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    for name, (title, unit, caption) in _BANDS.items():
        if band := _band(dig(report, "bands", name)):
            yield Chart(title, f"{caption} {_BAND}", "step", unit, [_series("", band, range(len(band)))])
    yield from _quality(report)
    steps, curve = dig(report, "long", "curve", "steps"), _band(dig(report, "long", "curve", "neg_energy"))
    if isinstance(steps, list) and len(steps) == len(curve) and all(map(is_figure, steps)) and curve:
        caption = f"The same chains far beyond their usual end: around a constant, or still moving? {_BAND}"
        yield Chart("Energy in the long run", caption, "step", "f(z), nats", [_series("", curve, steps)])


def _quality(report: Mapping[str, Any]) -> Iterator[Chart]:
    judged, n_steps = report.get("judged"), dig(report, "chain", "n_steps")
    rows = [row for row in judged if is_figure(dig(row, "step"))] if isinstance(judged, list) else []
    for metric in ("fppl", "rppl"):
        real = dig(report, "real", metric, "ppl")
        points: dict[str, list[tuple[float, float]]] = {}
        bands: dict[str, list[tuple[float, float, float]]] = {}
        for row in rows:
            value = dig(row, metric, "ppl")
            if is_figure(value) and (not is_figure(n_steps) or row["step"] <= n_steps):
                decode, interval = str(row.get("decode", "")), dig(row, metric, "ci95")
                points.setdefault(decode, []).append((row["step"], value))
                if interval_of(interval) is not None:
                    bands.setdefault(decode, []).append((row["step"], *interval))
        if points:
            yield Chart(
                f"{metric.upper()} along the chain",
                "Sentences decoded at several steps, judged, with 95 % intervals; the first step is N(0, I).",
                "step",
                metric.upper(),
                [Series(name, sorted(found), band=sorted(bands.get(name, []))) for name, found in points.items()],
                levels=[("real text", real)] if is_figure(real) and real > 0 else [],
            )


def _sentences(report: Mapping[str, Any]) -> Iterator[Html]:
    """A table a chain: the sentence at each step."""
    listed = report.get("sentences")
    chains: dict[str, list[tuple[Any, ...]]] = {}
    for row in listed if isinstance(listed, list) else []:
        if isinstance(dig(row, "text"), str):
            cells = (str(row.get("step", "")), row.get("decode"), row.get("f"), element("bdi", row["text"], dir="auto"))
            chains.setdefault(str(row.get("chain", "")), []).append(cells)
    for chain, rows in chains.items():
        title = f"Sentences along chain {chain}"
        yield details(title, table(title, ["step", "decoding", "f(z)", "sentence"], rows))


def _series(label: str, band: list[list[float]], steps: Any) -> Series:
    return Series(
        label,
        [(x, middle) for x, (_, middle, _) in zip(steps, band, strict=True)],
        band=[(x, low, high) for x, (low, _, high) in zip(steps, band, strict=True)],
    )


def _band(value: Any) -> list[list[float]]:
    """Rows of (low, median, high); empty for anything else."""
    rows = value if isinstance(value, list) else []
    whole = all(isinstance(row, list) and len(row) == 3 and all(map(is_figure, row)) for row in rows)
    return rows if whole else []
