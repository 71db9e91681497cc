"""Pictures of FPPL against RPPL, for one report or for several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .drawing import hover, legend, logarithmic, panels, save_pictures
from .judged import decoding_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .frontier import Point, RealPoint

__all__ = ["draw_headroom", "draw_points", "draw_real", "label_axes", "plot_frontiers"]


def draw_real(axes: Axes, rows: Sequence[RealPoint]) -> None:
    """Draw a star at the perplexities of real text, and a hollow star for the RPPL of as many real sentences."""
    real = fmean(row.ppl for row in rows)
    stars = {"real text": (real, real, "C3")}
    fewer = [row.rppl_at_n for row in rows if row.rppl_at_n is not None]
    if fewer:
        stars["real text, as many sentences"] = (real, fmean(fewer), "none")
    for label, (x, y, fill) in stars.items():
        (star,) = axes.plot(x, y, "*", color="C3", markerfacecolor=fill, markersize=12)
        hover(star, [label])
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(6, 4), fontsize="small", color="C3")
        axes.axhline(y, color="C3", linewidth=0.5)
    axes.axvline(real, color="C3", linewidth=0.5)


def draw_points(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points of a model: seeds are faint, their means solid and joined in order of temperature."""
    groups = _by_decoding(points)
    means = {label: _mean(group) for label, group in groups.items()}
    drawn = [mean for label, mean in means.items() if label.startswith("T")]
    if drawn:
        axes.plot(*zip(*drawn, strict=True), color="C0", linewidth=1)
    for label, group in groups.items():
        if len(group) > 1:
            axes.plot(*zip(*group, strict=True), ".", color="C0", alpha=0.4)
        (mark,) = axes.plot(*means[label], "s" if label.startswith("greedy") else "o", color="C0")
        hover(mark, [label])
        axes.annotate(label, means[label], textcoords="offset points", xytext=(6, 4), fontsize="small")


def draw_headroom(axes: Axes, points: Sequence[Point]) -> None:
    """Draw points that are not samples of the model, with hollow marks and a dashed line for each kind."""
    for number, kind in enumerate(dict.fromkeys(point.latents for point in points), 1):
        groups = _by_decoding([point for point in points if point.latents == kind])
        style: dict[str, Any] = {"color": f"C{number}", "linestyle": "--", "linewidth": 1, "marker": "D"}
        means = zip(*map(_mean, groups.values()), strict=True)
        label = next(iter(groups)).split(", ")[-1]
        (line,) = axes.plot(*means, markerfacecolor="none", label=label, **style)
        hover(line, list(groups))
    if points:
        legend(axes)


def _by_decoding(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """Return (FPPL, RPPL) of each seed by name of the decoding, greedy first, then in order of temperature."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in sorted(points, key=lambda point: point.temperature or 0.0):
        name = decoding_of(point).removeprefix(", ") or "samples"
        groups.setdefault(name, []).append((point.fppl, point.rppl))
    return groups


def _mean(group: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(x for x, _ in group), fmean(y for _, y in group)


def plot_frontiers(
    models: Mapping[str, Mapping[str, tuple[float, float]]], real: tuple[float, float], stem: Path
) -> None:
    """Draw the frontiers of several models under one judge, in two panels: without and with greedy decoding.

    Args:
        models: name → decoding ("T=1", …, "greedy") → (FPPL, RPPL). Temperatures are joined in order; greedy decoding,
            which may lie far away, is a separate point.
        real: FPPL and RPPL of real text, the latter from as many sentences as there are samples.
        stem: the files are `stem`.png and `stem`.svg.

    Raises:
        InputError: matplotlib is missing.
    """
    figure, (close, whole) = panels(["sampled, by temperature", "greedy decoding, too (hollow)"], size=(6.5, 5))
    _draw_models(close, models, real, greedy=False)
    legend(close)
    _draw_models(whole, models, real, greedy=True)
    save_pictures(figure, stem)


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
    label_axes(axes)


def label_axes(axes: Axes) -> None:
    """Label the axes, and make them logarithmic; call it after everything is drawn."""
    axes.margins(0.15)
    logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("FPPL (fluency; left of real text is no win)")
    axes.set_ylabel("RPPL (coverage and quality; lower is better)")
