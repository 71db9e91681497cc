"""Pictures of reports as SVG for an HTML page, whose style sheet sets their colours; hovering shows texts."""

from __future__ import annotations

import copy
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lebm_text.visible import named, visible

from .drawing import hover_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["to_svg"]

_WIDEST = 4.0  # inches: maximum width of a panel, so that its text is large enough on a phone
_SMALLEST = 9.0  # points: minimum font size
_GREYS = ((0.3, "currentColor"), (0.6, "var(--muted)"), (0.95, "var(--line)"), (1.0, "var(--page)"))

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def to_svg(figure: Figure, name: str) -> list[str]:
    """Return each panel of a figure as an `<svg>` element for an HTML page whose style sheet sets the colours.

    Colours are `currentColor`, `var(--page)`, `var(--muted)`, `var(--line)`, and `var(--series-0)` … for C0 …. The SVG
    has no references to other files and no inline styles. Points with texts set by `hover` have them as `<title>`.

    Args:
        figure: is modified, and may get smaller.
        name: prefix of all ids, which must be unique on a page.
    """
    import matplotlib
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    artists = figure.findobj()  # called only once, since it makes the ticks of all axes
    for label in artists:
        if isinstance(label, Text):
            label.set_text(visible(label.get_text(), named))
            label.set_fontsize(max(label.get_fontsize(), _SMALLEST))
    shown = [panel for panel in figure.axes if panel.get_visible() and panel.has_data()]
    texts = {f"hover-{i}": artist for i, artist in enumerate(filter(hover_texts, artists))}
    for gid, artist in [*texts.items(), *((f"panel-{i}", panel) for i, panel in enumerate(shown))]:
        artist.set_gid(gid)
    for patch in (figure.patch, *(panel.patch for panel in shown)):
        patch.set_visible(False)
    _shrink(figure, shown)
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib warns of characters missing in its font; the browser's has them
        figure.savefig(stream, format="svg")
        boxes = [panel.get_tightbbox() or panel.bbox for panel in shown]
    root = ElementTree.fromstring(visible(stream.getvalue(), named))
    groups = {group.get("id"): group for group in root.iter(f"{_SVG}g")}
    for gid, artist in texts.items():
        if gid in groups:
            _add_titles(groups[gid], hover_texts(artist))
    definitions = {each.get("id"): each for parent in root.iter(f"{_SVG}defs") for each in parent}
    colours = {to_hex(f"C{i}"): f"var(--series-{i})" for i in reversed(range(10))}
    width, height = (max((getattr(box, side) for box in boxes), default=0) for side in ("width", "height"))
    found = []
    for number, (panel, box) in enumerate(zip(shown, boxes, strict=True)):
        described = ", ".join(filter(None, (panel.get_title(), panel.get_ylabel(), panel.get_xlabel())))
        picture = _picture(groups[f"panel-{number}"], definitions, f"{name}-{number}", colours)
        corner = box.x1 - width, figure.bbox.height - box.y1  # align titles and right edges of all panels
        picture.set(
            "viewBox", " ".join(f"{each:.1f}" for each in (corner[0] - 2, corner[1] - 2, width + 4, height + 4))
        )
        picture.set("aria-label", visible(described or "chart", named))
        found.append(ElementTree.tostring(picture, encoding="unicode"))
    return found


def _shrink(figure: Figure, shown: Sequence[Axes]) -> None:
    """Limit the width of panels to `_WIDEST`, and make points the unit of the SVG.

    The layout engine is switched off, which saves half of the time: panels are cut out one by one, so that they need
    no space between them.
    """
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.1, top=0.9, wspace=0.25, hspace=0.4)
    figure.set_dpi(72)
    columns = max((spec.get_gridspec().ncols for panel in shown if (spec := panel.get_subplotspec())), default=1)
    width, height = figure.get_size_inches()
    if width > _WIDEST * columns:
        figure.set_size_inches(_WIDEST * columns, height * max(_WIDEST * columns / width, 0.75))


def _add_titles(group: ElementTree.Element, texts: Sequence[str]) -> None:
    """Add texts as titles to the markers of a line or scatter, unless markers outside the picture were left out."""
    marks = list(group.iter(f"{_SVG}use"))
    if len(marks) == len(texts):
        for mark, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(mark, f"{_SVG}title").text = visible(text, named)


def _picture(
    panel: ElementTree.Element, definitions: dict[str | None, ElementTree.Element], prefix: str, colours: dict[str, str]
) -> ElementTree.Element:
    """Return a panel with the definitions that it refers to, without namespaces and inline styles."""
    links = [each.get(key, "") for each in panel.iter() for key in (_LINK, "clip-path")]
    used = dict.fromkeys(name for link in links for name in re.findall(r"#(\w+)", link))
    for parent in [*panel.iter()]:
        for each in parent.findall(f"{_SVG}defs"):
            parent.remove(each)
    root = ElementTree.Element("svg", {"role": "img", "fill": "currentColor"})
    ElementTree.SubElement(root, "defs").extend(copy.deepcopy(definitions[name]) for name in used)
    root.append(panel)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = dict(_attributes(element, prefix, colours))
        element.text = " ".join((element.text or "").split()) if element.tag in ("text", "tspan", "title") else None
        element.tail = None
    for group in root.iter("g"):
        _share(group)
    return root


def _attributes(element: ElementTree.Element, prefix: str, colours: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the attributes of an element, with styles as attributes, since the page's policy forbids inline styles."""
    for key, value in element.attrib.items():
        if key == "id":
            if element.tag != "g":
                yield key, f"{prefix}-{value}"
        elif key == _LINK:
            yield "href", f"#{prefix}-{value[1:]}"
        elif key == "clip-path":
            yield key, value.replace("#", f"#{prefix}-")
        elif key == "style":
            for name, setting in re.findall(r"([\w-]+): ([^;]+)", value):
                if name in ("font-size", "font"):
                    size = max(float(re.search(r"([\d.]+)px", setting)[1]), _SMALLEST)  # type: ignore[index]
                    yield "font-size", f"{size:g}"
                elif name != "font-family":
                    yield name, _colour(setting, colours) if name in ("fill", "stroke") else setting
        else:
            value = " ".join(value.split())
            yield key, re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)


def _share(group: ElementTree.Element) -> None:
    """Move fill and stroke attributes that all markers of a group share to the group."""
    if len(group) > 1 and all(mark.tag == "use" for mark in group):
        for key, value in [*group[0].attrib.items()]:
            if key.startswith(("fill", "stroke")) and all(mark.get(key) == value for mark in group):
                group.set(key, value)
                for mark in group:
                    del mark.attrib[key]


def _colour(colour: str, colours: dict[str, str]) -> str:
    """Return the CSS variable for a colour of the cycle or a grey, and any other colour unchanged."""
    if colour in colours:
        return colours[colour]
    grey = re.fullmatch(r"#(..)\1\1", colour)
    return next(name for most, name in _GREYS if int(grey[1], 16) / 255 <= most) if grey else colour
