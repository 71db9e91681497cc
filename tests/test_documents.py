"""README and docs: their links lead somewhere, and nothing in them waits to be filled in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_waits_to_be_filled_in(path: Path) -> None:
    assert re.findall(r"@@?[A-Z_0-9]+@@?|TODO|FIXME", path.read_text(encoding="utf-8")) == []


def test_files_that_the_readme_names_exist() -> None:
    named = re.findall(
        r"`((?:lebm_text|lm_eval|docs|data)/[\w/]+\.\w+)`", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []
