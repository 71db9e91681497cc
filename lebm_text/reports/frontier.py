"""FPPL against RPPL over decodings, with the point of real text: what a lucky decoding would hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text.reports.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_frontier", "plot_frontiers"]


def plot_frontier(points: Sequence[Mapping[str, Any]], real: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw one panel a judge; the suffix of `path` decides the format.

    Args:
        points: with judge, fppl, rppl, and decode, temperature and seed where they are known. Those of one decoding
            (several seeds) are drawn faintly and their mean fully; means are joined in the order of temperature.
        real: with judge and ppl, one a judge seed, and rppl_at_n if the samples are fewer than training sentences.

    Raises:
        InputError: matplotlib is missing.
    """
    judges = list(dict.fromkeys(point["judge"] for point in points))
    figure = new_figure(6.0 * len(judges), 5)
    for axes, judge in zip(figure.subplots(1, len(judges), squeeze=False).flat, judges, strict=True):
        rows = [row for row in real if row["judge"] == judge]
        _draw_real(axes, rows)
        _draw(axes, [point for point in points if point["judge"] == judge])
        _label_axes(axes)
        axes.set_title(f"judge: {judge}", fontsize="medium")
    figure.savefig(path)


def plot_frontiers(
    models: Mapping[str, Mapping[str, tuple[float, float]]], real: tuple[float, float], path: Path
) -> None:
    """Draw the curves of several models under one judge: sampled, where they lie close, and with greedy decoding.

    Args:
        models: name → decoding ("T=1", …, "greedy") → (FPPL, RPPL). Temperatures are joined in their order; greedy
            decoding, which may lie far off, stands alone.
        real: FPPL and RPPL of real text, the latter from as many sentences as there are samples.

    Raises:
        InputError: matplotlib is missing.
    """
    figure = new_figure(13, 5)
    close, whole = figure.subplots(1, 2)
    _draw_models(close, models, real, greedy=False)
    close.set_title("sampled, by temperature", fontsize="medium")
    close.legend(fontsize="small")
    _draw_models(whole, models, real, greedy=True)
    whole.set_title("greedy decoding, too (hollow)", fontsize="medium")
    figure.savefig(path, dpi=100)


def _draw_models(
    axes: Axes, models: Mapping[str, Mapping[str, tuple[float, float]]], real: tuple[float, float], *, greedy: bool
) -> None:
    axes.plot(*real, "*", color="black", markersize=12, label="real text")
    for index, (name, points) in enumerate(models.items()):
        drawn = {float(decoding[2:]): point for decoding, point in points.items() if decoding.startswith("T=")}
        curve = [drawn[temperature] for temperature in sorted(drawn)]
        color, marker = f"C{index}", "osD^vPX"[index % 7]
        if curve:
            axes.plot(*zip(*curve, strict=True), marker=marker, color=color, label=name)
        if greedy and "greedy" in points:
            axes.plot(*points["greedy"], marker=marker, color=color, markerfacecolor="none", linestyle="none")
    _label_axes(axes)


def _draw_real(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    real = sum(row["ppl"] for row in rows) / len(rows)
    stars = {"real text": (real, real, "C3")}
    fewer = [row["rppl_at_n"] for row in rows if "rppl_at_n" in row]
    if fewer:
        stars["real text, as many sentences"] = (real, sum(fewer) / len(fewer), "none")
    for label, (x, y, fill) in stars.items():
        axes.plot(x, y, "*", color="C3", markerfacecolor=fill, markersize=12)
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(6, 4), fontsize="small", color="C3")
        axes.axhline(y, color="C3", linewidth=0.5)
    axes.axvline(real, color="C3", linewidth=0.5)


def _draw(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in sorted(points, key=lambda point: point.get("temperature", 0.0)):
        groups.setdefault(_label(point), []).append((point["fppl"], point["rppl"]))
    means = {label: _mean(group) for label, group in groups.items()}
    drawn = [mean for label, mean in means.items() if label.startswith("T")]
    if drawn:
        axes.plot(*zip(*drawn, strict=True), color="C0", linewidth=1)
    for label, group in groups.items():
        if len(group) > 1:
            axes.plot(*zip(*group, strict=True), ".", color="C0", alpha=0.4)
        axes.plot(*means[label], "s" if label == "greedy" else "o", color="C0")
        axes.annotate(label, means[label], textcoords="offset points", xytext=(6, 4), fontsize="small")


def _label_axes(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.15)
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.2, 1.5, 2, 3, 5, 8)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("FPPL (fluency; left of real text is no win)")
    axes.set_ylabel("RPPL (coverage and quality)")
    axes.grid(alpha=0.3)


def _label(point: Mapping[str, Any]) -> str:
    if point.get("decode") == "greedy":
        return "greedy"
    return f"T = {point['temperature']:g}" if "temperature" in point else "samples"


def _mean(group: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)
