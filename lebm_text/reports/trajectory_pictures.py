"""The picture of `lebm-text trajectories`, from its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .drawing import logarithmic, panels, save_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_trajectories"]

TITLES = {
    "neg_energy": "f(z), nats",
    "logdensity": "f(z) + log p0(z), nats",
    "norm": "‖z‖",
    "gradient_norm": "‖∇ log p(z)‖",
}


def plot_trajectories(report: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw the short run's bands, FPPL along it, and f in the long run, as `stem`.png and .svg."""
    titles = [*TITLES.values(), "f(z) in the long run, nats", "FPPL along the chain", "RPPL along the chain"]
    figure, axes = panels(2, 4, [*titles, ""])
    for panel, name in zip(axes, TITLES, strict=False):
        _band(panel, range(len(report["bands"][name])), report["bands"][name])
        panel.set_xlabel("step")
    _long(axes[4], report)
    for panel, metric in zip(axes[5:], ("fppl", "rppl"), strict=False):
        _judged(panel, report, metric)
    axes[7].set_axis_off()
    keys = [panel.get_legend_handles_labels() for panel in axes[4:6]]
    axes[7].legend([*keys[0][0], *keys[1][0]], [*keys[0][1], *keys[1][1]], loc="center left")
    return save_pictures(figure, stem)


def _band(panel: Axes, steps: range | list[int], band: list[list[float]]) -> None:
    low, median, high = zip(*band, strict=True)
    panel.fill_between(steps, low, high, alpha=0.25, linewidth=0, label="5 to 95 % of chains")
    panel.plot(steps, median, label="median")


def _judged(panel: Axes, report: Mapping[str, Any], metric: str) -> None:
    """Steps at equal distances, the last that of the long run; the interval is over the sentences that are scored."""
    for number, decode in enumerate(("sample", "greedy")):
        rows = [row for row in report["judged"] if row["decode"] == decode]
        ppl = [row[metric]["ppl"] for row in rows]
        low, high = zip(*(row[metric]["ci95"] for row in rows), strict=True)
        errors = [[p - a for p, a in zip(ppl, low, strict=True)], [b - p for p, b in zip(ppl, high, strict=True)]]
        places = range(len(rows))
        panel.errorbar(places, ppl, yerr=errors, fmt="o-", markersize=3, color=f"C{number}", label=f"decode={decode}")
        panel.set_xticks(places, [f"{row['step']:,}" for row in rows])
    panel.axhline(report["real"][metric]["ppl"], color="C3", linewidth=0.8, label="real text")
    logarithmic(panel)
    panel.set_xlabel("step, not to scale")


def _long(panel: Axes, report: Mapping[str, Any]) -> None:
    curve = report["long"]["curve"]
    _band(panel, curve["steps"], curve["neg_energy"])
    windows = report["long"]["windows"]
    middles = [(first + last) / 2 for first, last, _ in windows]
    means = [value for _, _, (value, _) in windows]
    errors = [2 * error for _, _, (_, error) in windows]
    panel.errorbar(middles, means, yerr=errors, fmt="k.", label="mean ± 2 standard errors")
    panel.set_xlabel("step")
