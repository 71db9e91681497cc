"""Pictures of an analysis as PNG and SVG: panels to draw on, and files that are complete or absent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text.reports.extras import new_figure
from lebm_text.store import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["logarithmic", "panels", "save_pictures"]


def panels(rows: int, columns: int, titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of titled panels, row by row. Raises InputError if matplotlib is missing."""
    figure = new_figure(4 * columns, 3.25 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize="medium")
        panel.grid(alpha=0.3)
    return figure, axes


def logarithmic(panel: Axes) -> None:
    """A logarithmic vertical axis with plain numbers at 1, 2, 5, 10, …"""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())


def save_pictures(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg and return the two paths."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        stream = io.BytesIO()
        figure.savefig(stream, format=path.suffix[1:])
        atomic_write_bytes(path, stream.getvalue())
    return paths
