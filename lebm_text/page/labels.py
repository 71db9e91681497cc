"""Names beside points, placed so that they do not lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

from .html import Html, element

__all__ = ["place_labels"]

_LETTER, _LINE = 6.8, 13.0
_LONGEST = 24  # characters of a name
# Offsets from the point to the text's start, or to its end where the text stands to the left.
_PLACES = ((8, -6, "start"), (8, 15, "start"), (-8, -6, "end"), (-8, 15, "end"), (8, 28, "start"), (8, -19, "start"))

_Box = tuple[float, float, float, float]


def place_labels(
    labels: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float]], within: _Box
) -> list[Html]:
    """A text for each (x, y, name): the first of several places that is free, else the one that covers least.

    Args:
        points: positions of marks, not to be covered.
        within: left, top, right, bottom.
    """
    taken: list[_Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    placed = []
    for x, y, whole in labels:
        name = whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"
        width = _LETTER * len(name)
        choices = []
        for dx, dy, anchor in _PLACES:
            left = x + dx - (width if anchor == "end" else 0)
            box = (left, y + dy - _LINE + 3, left + width, y + dy + 3)
            choices.append((sum(_overlap(box, other) for other in taken) + _outside(box, within), box, dx, dy, anchor))
        _, box, dx, dy, anchor = min(choices, key=lambda choice: choice[0])
        taken.append(box)
        placed.append(element("text", name, x=round(x + dx, 1), y=round(y + dy, 1), text_anchor=anchor, class_="name"))
    return placed


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: _Box, within: _Box) -> float:
    inside = _overlap(box, within)
    return 10 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)
