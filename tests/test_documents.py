"""README and docs: links lead somewhere, files that are named exist, and nothing waits to be filled in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
NAMED = re.compile(r"`((?:lebm_text|lm_eval|docs|examples|tests|benchmarks)/[\w/.-]*[\w/])`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_waits_to_be_filled_in(path: Path) -> None:
    assert re.findall(r"@@?[A-Z_0-9]+@@?|TODO|FIXME", path.read_text(encoding="utf-8")) == []


# A decision is of its day, and so are the names in it.
@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if path.parent.name != "decisions"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_that_are_named_exist(path: Path) -> None:
    named = NAMED.findall(path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_files_are_named() -> None:
    assert len(NAMED.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))) > 30
