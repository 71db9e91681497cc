"""The pages of results have the figures of docs/tables/, and `docs/figures.py` can tell when they do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_reference import program_of_docs

figures = program_of_docs("figures")


@pytest.mark.parametrize("path", figures.PAGES, ids=lambda path: path.name)
def test_figures_are_those_of_the_experiments(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert figures.written(page) == page


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("README.md", 5),
        ("results-snli.md", 29),
        ("results.md", 10),
        ("results-ptb.md", 41),
        ("results-yelp.md", 13),
        ("results-e2e.md", 13),
    ],
)
def test_a_wrong_figure_is_found(name: str, least: int) -> None:
    """The first figure of each row is written anew, wherever an experiment has it."""
    (path,) = (path for path in figures.PAGES if path.name == name)
    page = path.read_text(encoding="utf-8")
    of_a_row = re.compile(r"^(\| [^|]+\|.*?)\d[\d.]*(.*)$(?!\n\|--)", re.MULTILINE)  # the first figure after its label
    wrong = of_a_row.sub(r"\g<1>7.7777\2", page)
    mended = figures.written(wrong).split("\n")
    found = [a != b == c for a, b, c in zip(wrong.split("\n"), page.split("\n"), mended, strict=True)]
    assert sum(found) >= least
