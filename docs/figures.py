"""Write the figures of docs/results*.md anew from docs/tables/: `python docs/figures.py`.

The header of a table and the first cell of a row say which figures are meant. A table belongs to the experiment whose
"whole table" is the next link after it; the tables of docs/results.md and README.md name the texts themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/results*.md"))]

WHOLE = re.compile(r"The whole table\]\(tables/([\w-]+)/")

JUDGES = {  # first cell of a header → judge
    "FPPL / RPPL": "kn5",
    "ratio at equal FPPL, below 1: LEBM is better": "kn5",
    "FPPL / RPPL by an LSTM": "lstm",
    "RPPL by an LSTM, ratio at equal FPPL": "lstm",
}
ROWS = {  # the first of these words in a cell → row of the experiment
    "VAE with a learned prior": "fbvae-ebm-lm",
    "free-bits VAE": "fbvae-lm",
    "semi-amortized VAE": "savae-lm",
    "VAE": "vae-lm",
    "short-run inference": "sri-lm",
    "the control": "lm-continued",
    "trained on": "lm-continued",
    "twin": "gaussian-lm",
    "normal prior": "gaussian-lm",
    "LEBM's generator": "oracle",
    "LEBM": "lebm-lm",
    "language model": "lm",
}
TEXTS = {  # likewise → experiment
    "512 units": "paper-ptb-512",
    "Penn Treebank": "paper-ptb",
    "Yelp": "paper-yelp",
    "E2E": "paper-e2e",
    "SNLI": "paper-snli",
}
WAYS = ("first", "second")  # at LEBM's FPPL, at the other row's


@cache
def results(experiment: str) -> dict[str, Any]:
    """Return docs/tables/EXPERIMENT/results.json."""
    path = ROOT / "docs" / "tables" / experiment / "results.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def named(cell: str, names: Mapping[str, str]) -> str | None:
    """Return what a cell stands for."""
    return next((name for word, name in names.items() if word in cell), None)


def perplexities(experiment: str, judge: str, cell: str, decoding: str) -> str | None:
    """Return FPPL / RPPL to the decimals that give real text three digits; None for a row of no experiment."""
    found = results(experiment)
    real = found["real"][judge]["ppl"], found["real"]["kn5"]["rppl_at_n"]
    decimals = max(0, 3 - len(str(int(found["real"]["kn5"]["ppl"]))))
    if cell.startswith(("real text", "samples of a 5-gram model")):
        known = found["known"]["5-gram samples"]
        pair = real if cell.startswith("real") else (known["fppl"], known["rppl"])
        return f"{pair[0]:.{decimals}f} / {pair[1]:.{decimals}f}" if decoding == "T=1" else ""
    row = named(cell, ROWS)
    if row is None:
        return None
    point = found["rows"][row][judge][decoding]
    return " / ".join(f"{point[metric]['value']:.{decimals}f}" for metric in ("fppl", "rppl"))


def distinct(experiment: str, cell: str) -> str:
    """Return the share of distinct sentences decoded greedily."""
    row = named(cell, ROWS)
    decoded = {} if row in (None, "oracle") else results(experiment)["rows"][row]["kn5"]
    return f"{decoded['greedy']['distinct']['value'] * 100:.0f} %" if decoded else ""


def ratio(experiment: str, judge: str, other: str, figure: str, decoding: str) -> dict[str, Any] | None:
    """Return a ratio of LEBM to another row at equal FPPL, with its interval; None where it was not interpolated."""
    wanted = {"judge": judge, "first": "lebm-lm", "second": other}
    (pair,) = (each for each in results(experiment)["comparisons"] if wanted.items() <= each.items())
    found: dict[str, Any] | None = pair["ratios"][decoding][figure]
    return found


def decoding_of(header: str) -> str | None:
    """Return the decoding that the header of a column names, such as T=0.6 for "at 0.6"."""
    found = re.search(r"[\d.]+$", header)
    return f"T={found[0]}" if found else None


def of_experiment(experiment: str, header: list[str], row: list[str], above: list[str]) -> list[str] | None:
    """Return the cells of a row of an experiment's own tables; `above` is the row above it. None for another table."""
    judge, decodings = JUDGES.get(header[0]), [decoding_of(each) for each in header[1:]]
    if judge is None:
        return None
    if header[0].startswith("FPPL"):
        cells = [
            perplexities(experiment, judge, row[0], each) if each else distinct(experiment, row[0])
            for each in decodings
        ]
    else:
        said = above[0] if row[0].startswith("…") else row[0]
        figure = "frechet" if "Fréchet" in said else "rppl"
        figure += "_at_second" if row[0].startswith("…") else "_at_first"
        other = named(said.split(", at ")[0], ROWS)
        ratios = [ratio(experiment, judge, other or "", figure, each or "") for each in decodings]
        cells = ["" if each is None else _with_interval(**each) for each in ratios]
    return None if None in cells else [row[0], *map(str, cells)]


def _with_interval(value: float, low: float | None, high: float | None, **_: object) -> str:
    """Return a ratio with its interval, which a single seed has none of."""
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def of_texts(header: list[str], row: list[str]) -> list[str] | None:
    """Return the cells of a row of a table over several texts; None for another table."""
    if header[0] == "LEBM's RPPL at equal FPPL, as a ratio" and (text := named(row[0], TEXTS)):
        cells, other = [row[0]], None
        for each in header[1:]:
            other = named(each, ROWS) or other
            both = [ratio(text, "kn5", other or "", f"rppl_at_{which}", decoding_of(each) or "") for which in WAYS]
            cells.append(" / ".join(_marked(found) for found in both if found is not None))
        return cells
    decodings = [f"T={each}" for each in re.findall(r"[\d.]+", header[0])]
    if header[0].startswith("Fréchet distance at T = "):
        return [row[0], *(_frechet(named(text, TEXTS) or "", row[0], decodings) for text in header[1:])]
    if header[0].startswith("FPPL / RPPL at T = "):
        return [
            row[0],
            *(str(perplexities(named(text, TEXTS) or "", "kn5", row[0], decodings[0])) for text in header[1:]),
        ]
    return None


def _marked(found: dict[str, Any]) -> str:
    """Return a ratio, bold if its interval does not reach 1."""
    shown = f"{found['value']:.2f}"
    return f"**{shown}**" if (found["low"] > 1 or found["high"] < 1) and shown != "1.00" else shown


def _frechet(experiment: str, cell: str, decodings: list[str]) -> str:
    found = results(experiment)
    if cell == "training text":
        return f"{found['real']['meaning']['frechet']:.0f}"
    meaning = found["rows"].get(named(cell, ROWS), {"meaning": {}})["meaning"]
    return " / ".join(f"{meaning[each]['frechet']['value']:.0f}" for each in decodings) if meaning else ""


def written(page: str) -> str:
    """Return the text of a page with its figures written anew."""
    lines, header, above = page.split("\n"), [""], [""]
    for i, line in enumerate(lines):
        if line.startswith("|--"):
            header = _cells(lines[i - 1])
        elif not line.startswith("|"):
            header = [""]
        elif header != [""]:
            row, experiment = _cells(line), next(filter(None, map(WHOLE.search, lines[i:])), None)
            cells = of_texts(header, row)
            if cells is None and experiment is not None:
                cells = of_experiment(experiment[1], header, row, above)
            if cells is not None:
                lines[i] = "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"
            above = above if row[0].startswith("…") else row
    return "\n".join(lines)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
