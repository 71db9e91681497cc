"""A page read back strictly, and run directories made of plain files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lebm_text.config import Config
from lebm_text.page.page import render
from lebm_text.run import Run

__all__ = ["HOSTILE", "METRICS", "OLD", "Page", "check_document", "page_of", "write_run"]

OLD = Path(__file__).resolve().parents[2] / "data" / "run-0.1.0"
"""A run with a report of every kind."""

_VOID = {"meta", "br", "hr"}

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' & &lt;b&gt; &#x3c;script&#x3e;",
    "</svg></style></title><style>*{display:none}</style><!-- --> ]]> {{x}}",
    "bell \x07 escape \x1b[31m null \x00 delete \x7f return \r next \x85",
    "override \u202eabc\u202c isolate \u2067x\u2069 mark \u200f feff \ufeff line \u2028 tag \U000e0041",
    "שלום عالم 👩‍👩‍👧 Z̸̧̢͇͓͎̰̠̈́a̴͙͔̋lgo \ufffe \U0010ffff",
    "w" * 3000,
)

METRICS = [
    {"step": step, "epoch": step / 10, "gap": 0.1 * step, "nll_token": 3.0, "std_ratio": 1.0, "curvature": 0.1}
    for step in range(1, 21)
] + [{"step": 20, "epoch": 2, "valid_ppl_posterior": 4.263, "valid_ppl_prior": 10.19}]


class Page(HTMLParser):
    """A document whose tags must close in order; what a test wants to know of it is kept."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source, self.text = text, ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.feed(text)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, heading = self.headings[-1]
            self.headings[-1] = (level, heading + data)

    def values(self, attribute: str) -> list[str]:
        """Of all elements."""
        return [str(attributes[attribute]) for _, attributes in self.tags if attribute in attributes]

    @property
    def sections(self) -> list[str]:
        """Headings of the second level."""
        return [text for level, text in self.headings if level == 2]


def write_run(
    directory: Path,
    *,
    config: Config | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    reports: Mapping[str, Any] | None = None,
    samples: Mapping[str, Sequence[str]] | None = None,
    env: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
) -> Path:
    """A run directory that holds what is given, and nothing else."""
    directory.mkdir(parents=True)
    _write(directory / "config.json", (config or Config()).to_dict())
    if metrics:
        lines = "".join(json.dumps(record) + "\n" for record in metrics)
        (directory / "metrics.jsonl").write_text(lines, encoding="utf-8")
    for name, report in (reports or {}).items():
        _write(directory / "eval" / f"{name}.json", report)
    for name, lines_of in (samples or {}).items():
        (directory / "samples").mkdir(exist_ok=True)
        (directory / "samples" / name).write_bytes("".join(f"{line}\n" for line in lines_of).encode())
    if env is not None:
        _write(directory / "env.json", env)
    if progress is not None:
        _write(directory / "checkpoints" / "last" / "state.json", {"state": {"progress": progress}})
    return directory


def page_of(directory: Path) -> Page:
    """The page about a run directory, read back."""
    return Page(render(Run(directory)))


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def check_document(page: Page) -> None:
    """What holds of every page."""
    tags = [tag for tag, _ in page.tags]
    assert page.source.startswith("<!doctype html>")
    assert {"script", "link", "img", "iframe", "object", "form", "base"}.isdisjoint(tags)
    assert tags.count("style") == tags.count("h1") == tags.count("main") == 1
    assert not any(name.startswith("on") or name in ("src", "style", "srcset") for _, a in page.tags for name in a)
    assert all(link.startswith("#") and link[1:] in page.values("id") for link in page.values("href"))
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th")
    pictures = [a for tag, a in page.tags if tag == "svg" and a.get("aria-hidden") != "true"]
    assert all(a.get("role") == "img" and a.get("aria-label") for a in pictures)
    assert "http://" not in page.source
    assert "https://" not in page.source
    assert len(page.source.encode()) < 1_000_000
