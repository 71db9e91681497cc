"""Pictures of reports: panels, axes, legends and hover texts in a common style, and PNG and SVG files.

matplotlib is an optional dependency: functions that need it raise InputError if it is missing.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
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
    from matplotlib.text import Text

__all__ = ["check_picture", "hover", "hover_texts", "legend", "listed", "literal", "logarithmic", "new_figure"]
__all__ += ["panels", "picture_files", "picture_formats", "save_picture", "save_pictures"]

logger = logging.getLogger(__name__)

_MOST_INSIDE = 4  # entries of a legend inside the panel; more would cover the lines
_BELOW = 34.0  # points between the panel and a legend below it, for tick labels and the axis label
_HOVER: WeakKeyDictionary[Artist, Sequence[str]] = WeakKeyDictionary()


def picture_formats() -> frozenset[str]:
    """Return the suffixes of supported picture formats, without the dot; empty if matplotlib is not installed."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        return frozenset()
    return frozenset(FigureCanvasBase.get_supported_filetypes())


def check_picture(path: Path) -> None:
    """Raise InputError if the installed matplotlib does not support the suffix of `path`."""
    formats = picture_formats()
    if formats and path.suffix[1:].lower() not in formats:
        raise InputError(f"cannot draw {path}: the suffix must be one of {', '.join(sorted(formats))}")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, with width and height in inches. Raises InputError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'lebm-text[viz]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def panels(
    titles: Sequence[str], *, columns: int | None = None, size: tuple[float, float] = (4.0, 3.25)
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its titled panels, row by row. Raises InputError if matplotlib is missing.

    Args:
        titles: one for each panel, at least one.
        columns: panels in a row; None: all.
        size: width and height of a panel, in inches.
    """
    n_columns = min(columns or len(titles), len(titles))
    n_rows = math.ceil(len(titles) / n_columns)
    figure = new_figure(size[0] * n_columns, size[1] * n_rows)
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for panel, title in zip(axes, titles, strict=False):
        literal([panel.set_title(title, fontsize="medium")])
        panel.grid(alpha=0.3)
    for empty in axes[len(titles) :]:
        empty.set_visible(False)
    return figure, axes[: len(titles)]


def literal(texts: Iterable[Text]) -> None:
    """Draw texts as they stand: names of files may have dollar signs, between which matplotlib reads a formula."""
    for text in texts:
        text.set_parse_math(False)


def listed(name: str) -> str:
    """Return a name as a label of a legend, which leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def logarithmic(*axes: XAxis | YAxis) -> None:
    """Make axes logarithmic, with plain numbers as tick labels; call it after everything is drawn.

    Ticks are at 1, 2, 5, 10, …, and at more values if an axis spans less than a decade.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in axes:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def legend(panel: Axes, **options: Any) -> None:
    """Add a legend, in the emptiest place of the panel, or below it if there are many entries; none without labels.

    `options` are further arguments of `Axes.legend`.
    """
    from matplotlib.transforms import ScaledTranslation

    entries = panel.get_legend_handles_labels()[1]
    place: dict[str, Any] = {"framealpha": 0.9}
    if len(entries) > _MOST_INSIDE:
        place = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, 0.0),
            "bbox_transform": panel.transAxes + ScaledTranslation(0, -_BELOW / 72, panel.figure.dpi_scale_trans),
            "borderaxespad": 0.0,
            "frameon": False,
            "ncols": 2,
        }
    if entries:
        literal(panel.legend(fontsize="small", **place, **options).get_texts())


def hover(artist: Artist, texts: Sequence[str]) -> None:
    """Set the texts that the page of a run shows on hovering over the points of a line or scatter, one per point."""
    _HOVER[artist] = texts


def hover_texts(artist: Artist) -> Sequence[str]:
    """Return the texts that `hover` set for `artist`; empty if it set none."""
    return _HOVER.get(artist, ())


def save_picture(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure atomically; the suffix of `path` determines its format, `options` are those of `Figure.savefig`.

    Raises InputError if the format is not supported.
    """
    check_picture(path)
    _choose_fonts(figure)
    atomic_write_bytes(path, _drawn(figure, path.suffix[1:].lower(), options))


def save_pictures(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure to the `picture_files` of `stem`, and return their paths."""
    _choose_fonts(figure)
    paths = picture_files(stem)
    for path in paths:
        atomic_write_bytes(path, _drawn(figure, path.suffix[1:], {}))
    return paths


def _choose_fonts(figure: Figure) -> None:
    """Let texts use installed fonts for characters that the usual one lacks; log a warning of those that none has."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    if not (missing := {each for text in texts for each in text.get_text() if not each.isascii()}):
        return
    families = list(rcParams["font.family"])
    usual = findfont(FontProperties(family=families))
    others = [(font.name, font.fname) for font in fontManager.ttflist if "Last Resort" not in font.name]  # all boxes
    for family, path in [("", usual), *others]:
        if not missing:
            break
        with suppress(RuntimeError, OSError):  # not every font can be read
            font = FT2Font(path)
            found = {character for character in missing if font.get_char_index(ord(character))}
            families += [family] if family and found else []
            missing -= found
    for text in texts:
        text.set_fontfamily(families)
    if missing:
        logger.warning(f"no installed font has {''.join(sorted(missing))}: the picture has boxes in their place")


def _drawn(figure: Figure, suffix: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a line for each character without a font
        figure.savefig(stream, format=suffix, **options)
    return stream.getvalue()


def picture_files(stem: Path) -> list[Path]:
    """Return the paths `stem`.png and `stem`.svg."""
    return [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
