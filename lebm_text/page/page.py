"""The page: what is there of a run, in one HTML file that loads nothing, runs nothing and shows text as text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from lebm_text import __version__
from lebm_text.store import atomic_write_text

from .about import about, glance, kind_of
from .anomalies import anomalies, is_anomaly
from .attributes import directions, is_directions
from .chains import is_trajectories, trajectories
from .clouds import is_view, views
from .curves import training_curves
from .density import is_likelihood, likelihoods
from .generic import generic_report
from .html import Html, Section, details, element, join
from .judged import evaluations, frontiers, is_frontier, is_judged
from .repeat import how_to_repeat
from .run_files import RunFiles, read_run, signatures_in
from .texts import reconstructions, samples

__all__ = ["render", "write_page"]

_SECTIONS: tuple[Callable[[RunFiles], Section | None], ...] = (
    about,
    training_curves,
    samples,
    reconstructions,
    evaluations,
    frontiers,
    likelihoods,
    trajectories,
    views,
    directions,
    anomalies,
)
_KNOWN = (is_judged, is_frontier, is_likelihood, is_trajectories, is_view, is_directions, is_anomaly)


def write_page(run: Path, output: Path) -> list[str]:
    """Write the page about a run directory to `output`, whole or not at all.

    Returns:
        What could not be read and is therefore missing from the page.

    Raises:
        InputError: `run` has no sound config.json.
    """
    files = read_run(run)
    atomic_write_text(output, render(files))
    return files.notes


def render(run: RunFiles) -> str:
    """The page about a run, ready to be encoded: lone surrogates are spelled out."""
    sections = [part for build in _SECTIONS if (part := build(run)) is not None]
    sections += [
        generic_report(name, report)
        for name, report in run.reports.items()
        if not any(known(report) for known in _KNOWN)
    ]
    if run.notes:
        notes = element("ul", *(element("li", note) for note in run.notes), class_="warnings")
        sections.append(Section("unreadable", "What could not be read", [notes]))
    if (signed := _signatures(run)) is not None:
        sections.append(signed)
    sections.append(how_to_repeat(run))
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        # Nothing is loaded or run, whatever the text contains; the one style is known by its hash.
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run.name} – lebm-text"),
        element("style", Html(style)),
    )
    body = element(
        "body",
        element("header", element("h1", run.name), element("p", kind_of(run.config)), glance(run)),
        _contents(sections),
        element("main", *(part.html() for part in sections)),
        element("footer", element("p", f"Written by lebm-text {__version__}.")),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _contents(sections: Sequence[Section]) -> Html:
    links = [element("li", element("a", part.heading, href=f"#{part.anchor}")) for part in sections]
    return element("nav", element("ul", *links), aria_label="Sections")


def _signatures(run: RunFiles) -> Section | None:
    """Each figure's signature and the hashes of what it was computed from."""
    parts = []
    records = [(text.name, text.record) for text in run.samples] + list(run.reports.items())
    for name, record in records:
        signatures = [element("li", element("code", signature)) for signature in signatures_in(record)]
        hashes = record.get("sha256")
        known = hashes.items() if isinstance(hashes, dict) else [("text", hashes)] if isinstance(hashes, str) else []
        signatures += [element("li", join(f"sha256 {label}: ", element("code", str(value)))) for label, value in known]
        if signatures:
            parts.append(details(name, element("ul", *signatures, class_="signatures")))
    if not parts:
        return None
    caption = "What each figure is, in one line: quote it with the figure."
    return Section("signatures", "Signatures", [element("p", caption), *parts])
