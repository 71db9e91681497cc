"""HTML of the page of `lebm-text explore`. Text from model and corpus is escaped, never used as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lebm_text.visible import named, visible

__all__ = ["bars", "number", "quoted", "shown", "table"]

_ALIKE = (
    "The sentence is the same everywhere: z changes no word of it here. A model that keeps little in z is like that."
)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, chosen: int = -1, repeats: bool = False) -> str:
    """Return a table of numbers with a text in the last column; the cells of `rows` are escaped here.

    Args:
        chosen: index of the highlighted row; -1: none.
        repeats: show texts that repeat the row above in grey, with an explanation if all texts are equal.
    """

    def line(cells: Sequence[str], tag: str, kind: str = "") -> str:
        kinds = [" class=number"] * (len(headings) - 1) + [" dir=auto"]
        return f"<tr{kind}>{''.join(f'<{tag}{k}>{c}</{tag}>' for k, c in zip(kinds, cells, strict=True))}</tr>"

    given = [*rows]
    same = {i for i in range(1, len(given)) if repeats and given[i][-1] == given[i - 1][-1]}
    kinds = dict.fromkeys(same, " class=same") | {chosen: " class=chosen"}
    body = "".join(line([*map(shown, row)], "td", kinds.get(i, "")) for i, row in enumerate(given))
    alike = f"<p class=muted>{_ALIKE}</p>" if same and len(same) == len(given) - 1 else ""
    return f"{alike}<table><thead>{line(headings, 'th')}</thead><tbody>{body}</tbody></table>"


def bars(z: Sequence[float]) -> str:
    """Return a bar chart of the components of z, clipped at ±3."""
    heights, width = [10 * max(-3, min(value, 3)) for value in z], 10 * len(z)
    drawn = "".join(
        f'<rect x="{10 * i + 1}" y="{30 - max(height, 0):.1f}" width="8" height="{abs(height):.1f}">'
        f"<title>z[{i}] = {value:.3f}</title></rect>"
        for i, (height, value) in enumerate(zip(heights, z, strict=True))
    )
    return (
        "<p class=muted>z, a bar for each dimension, from −3 to 3</p>"
        f'<svg class=bars viewBox="0 0 {width} 60" preserveAspectRatio="none" role="img" aria-label="z" '
        f'fill="var(--series-0)" style="max-width:{len(z)}rem">{drawn}'
        f'<line x2="{width}" y1="30" y2="30" stroke="var(--line)"/></svg>'
        f"<details><summary>numbers</summary><code>{' '.join(f'{value:.3f}' for value in z)}</code></details>"
    )


def quoted(text: str) -> str:
    return f"<p class=said dir=auto>{shown(text)}</p>"


def number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def shown(text: str) -> str:
    """Return HTML that displays a text; invisible characters are replaced by their code points."""
    return escape(visible(text, named)) or "<em>(empty)</em>"
