"""Pictures of reports: one style, panels to draw on, texts that hovering shows, and files of PNG and SVG.

matplotlib is an extra: what needs it raises InputError where it is missing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

__all__ = ["check_picture", "hover", "hover_texts", "legend", "logarithmic", "new_figure", "panels", "picture_files"]
__all__ += ["picture_formats", "save_picture", "save_pictures"]

_MOST_INSIDE = 4  # entries of a legend; more of them would lie on the lines
_BELOW = 34.0  # points from the panel to a legend under it: room for numbers and the axis' name
_HOVER: WeakKeyDictionary[Artist, Sequence[str]] = WeakKeyDictionary()


def picture_formats() -> frozenset[str]:
    """The suffixes that can be drawn, without the point; none if matplotlib is not installed."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        return frozenset()
    return frozenset(FigureCanvasBase.get_supported_filetypes())


def check_picture(path: Path) -> None:
    """Raise InputError if the suffix of `path` is no format that the installed matplotlib draws."""
    formats = picture_formats()
    if formats and path.suffix[1:].lower() not in formats:
        raise InputError(f"cannot draw {path}: the suffix must be one of {', '.join(sorted(formats))}")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. Raises InputError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'lebm-text[viz]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def panels(rows: int, columns: int, titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a grid of titled panels, row by row. Raises InputError if matplotlib is missing."""
    figure = new_figure(4 * columns, 3.25 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize="medium")
        panel.grid(alpha=0.3)
    return figure, axes


def logarithmic(*axes: XAxis | YAxis) -> None:
    """Logarithmic axes, after all was drawn, with plain numbers at 1, 2, 5, 10, …; over less than a decade at more."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in axes:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def legend(panel: Axes) -> None:
    """Say what the lines are: where most room is, or under the panel if they are many. Nothing without labels."""
    from matplotlib.transforms import ScaledTranslation

    entries = panel.get_legend_handles_labels()[1]
    if len(entries) > _MOST_INSIDE:
        panel.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            bbox_transform=panel.transAxes + ScaledTranslation(0, -_BELOW / 72, panel.figure.dpi_scale_trans),
            borderaxespad=0.0,
            fontsize="small",
            frameon=False,
            ncols=2,
        )
    elif entries:
        panel.legend(fontsize="small", framealpha=0.9)


def hover(artist: Artist, texts: Sequence[str]) -> None:
    """Texts that a page shows over the points of `artist` (of a line or a scatter), one per point, in order."""
    _HOVER[artist] = texts


def hover_texts(artist: Artist) -> Sequence[str]:
    """What `hover` was told of `artist`; nothing of others."""
    return _HOVER.get(artist, ())


def save_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure, whole or not at all; the suffix of `path` decides its format.

    Args:
        options: of `Figure.savefig`.

    Raises:
        InputError: there is no such format.
    """
    check_picture(path)
    atomic_write_bytes(path, _drawn(figure, path.suffix[1:].lower(), options))


def _drawn(figure: Figure, suffix: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix, **options)
    return stream.getvalue()


def save_pictures(figure: Figure, stem: Path) -> list[Path]:
    """Write the `picture_files` of `stem` and return them."""
    paths = picture_files(stem)
    for path in paths:
        save_picture(figure, path)
    return paths


def picture_files(stem: Path) -> list[Path]:
    """`stem`.png and `stem`.svg."""
    return [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
