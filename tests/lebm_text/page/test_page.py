"""The page as a document: whole, self-contained, in order; with what a run has, without what it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from .examples import ANOMALY, DIRECTIONS, ENV, LIKELIHOOD, METRICS, TRAJECTORIES, VIEWS
from .pages import HOSTILE, check_document, frontier_report, judged_report, page_of, write_run


@pytest.fixture
def full(tmp_path: Path) -> Path:
    directory = write_run(
        tmp_path / "full",
        env=ENV,
        metrics=METRICS,
        progress={"finished": True, "step": 20, "epoch": 2, "seconds": 7200.0},
        samples={"epoch-0001.txt": ["early words", ""], "epoch-0002.txt": ["late words"], "n5-T1-seed1.txt": ["drawn"]},
        reports={
            "fppl-kn5-default-test": judged_report("fppl"),
            "rppl-kn5-default-test": judged_report("rppl"),
            "frontier-kn5-default-test": frontier_report(),
            "likelihood-test": LIKELIHOOD,
            "trajectories": TRAJECTORIES,
            "views": VIEWS,
            "directions": DIRECTIONS,
            "anomaly-news": ANOMALY,
            "novel": {
                "metric": "novel",
                "signature": "novel|v:1",
                "answer": 42,
                "rows": [{"a": 1, "b": {"c": "two", "d": {"value": 0.7, "standard_error": 0.1}}}],
            },
        },
    )
    record = {"signature": "samples(n=5)", "rates": {"empty": 0.125}, "sha256": "ef" * 32, "settings": {"n": 5}}
    (directory / "samples" / "n5-T1-seed1.txt.json").write_text(json.dumps(record))
    (directory / "samples" / "pairs.tsv").write_text("the source\tthe image\n")
    return directory


def test_a_full_run_shows_everything(full: Path) -> None:
    page = page_of(full)
    check_document(page)
    assert page.sections == [
        "What this run is",
        "Training curves",
        "Samples",
        "Reconstructions",
        "Evaluations",
        "Fluency against coverage",
        "Likelihood",
        "Trajectories of the prior chain",
        "Views of the latent space",
        "Direction of an attribute",
        "Anomaly detection",
        "novel",
        "Signatures",
        "How to repeat it",
    ]
    parts = (
        *("finished", "2.0 hours", "4.263", "10.19", "e2e", "cd" * 32, "911,391", "some processor", "torch", "2.9"),
        *("late words", "early words", "(empty)", "drawn", "12.5% empty", "the source", "the image"),
        *("8.762", "8.704 to 8.818", "5.956", "7.25", "take care", "25.0%", "greedy", "3.25"),
        *(
            "51.21",
            "± 4.42",
            "encoder KL",
            "± 0.5",
            "0.3145",
            "active units",
            "f settles",
            "a chained sentence",
            "answer",
            "42",
            "two",
        ),
        *("Accuracy on held-out sentences", "majority", "Sentences moved", "Moved: the soup", "the bad soup"),
        *("37.5% of the variance", "inferred from sentences", "0.7 ± 0.1"),
        *("sport (95 sentences) among news (1,900 sentences)", "joint a token", "0.8125", "0.78 to 0.84", "better"),
        *("ROC: sport", "Precision over recall: sport", "a run joint", "guessing"),
        *("FPPL|lm:kn5|v:1", "samples(n=5)", "ef" * 32, "novel|v:1", "abc123", "not committed"),
        *("lebm-text train ./e2e --preset", "no warning of collapse"),
    )
    assert [part for part in parts if part not in page.text] == []
    assert "/secret/place" not in page.source
    charts = [text for level, text in page.headings if level == 3]
    assert {"Energy gap", "FPPL against RPPL, judge kn5", "Use of each dimension of z", "FPPL along the chain"} <= set(
        charts
    )
    assert "Curvature against step size" not in charts


def test_a_bare_run_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "bare"))
    check_document(page)
    assert page.sections == ["What this run is", "How to repeat it"]
    assert "begun" in page.text
    assert "All settings are the defaults." in page.text


def test_the_policy_forbids_all_but_this_style(full: Path) -> None:
    page = page_of(full)
    policy = next(str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def hostile_run(directory: Path) -> Path:
    """A run whose every text is an attack."""
    judged = judged_report(
        text=HOSTILE[0], decode=HOSTILE[1], temperature=None, signature=HOSTILE[2], warnings=[*HOSTILE]
    )
    chains = [{"chain": text, "decode": text, "step": 1, "text": text} for text in HOSTILE]
    run = write_run(
        directory,
        env={HOSTILE[0]: HOSTILE[1], "corpus": {"name": HOSTILE[0], "splits": {HOSTILE[2]: {"sha256": HOSTILE[1]}}}},
        metrics=METRICS,
        samples={"epoch-0001.txt": [*HOSTILE], "x<b>&'\".txt": [*HOSTILE]},
        reports={
            "fppl": judged,
            "frontier": frontier_report()
            | {"points": [{"judge": text, "fppl": 2, "rppl": 3, "text": text} for text in HOSTILE]},
            "trajectories": TRAJECTORIES | {"sentences": chains, "statements": [*HOSTILE]},
            "odd <i>'\"name": {text: [text, {text: text}] for text in HOSTILE}
            | {"lone": "\ud800", "rows": [{t: t} for t in HOSTILE]},
        },
    )
    (run / "samples" / "pairs.tsv").write_bytes("".join(f"{text}\t{text}\n" for text in HOSTILE[:3]).encode())
    return run


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = page_of(hostile_run(tmp_path / "evil <script>'\"&"))
    check_document(page)
    assert "<script>alert(1)</script>" in page.text
    assert "onerror=alert(1)" in page.text
    allowed = {
        "a",
        "bdi",
        "body",
        "br",
        "caption",
        "circle",
        "code",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
    }
    allowed |= {
        "figure",
        "footer",
        "g",
        "h1",
        "h2",
        "h3",
        "h4",
        "head",
        "header",
        "html",
        "li",
        "main",
        "meta",
        "nav",
        "ol",
    }
    allowed |= {
        "p",
        "path",
        "pre",
        "section",
        "span",
        "strong",
        "style",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "text",
    }
    allowed |= {"th", "thead", "title", "tr", "ul"}
    assert {tag for tag, _ in page.tags} <= allowed
    hidden = (
        "\x00",
        "\x07",
        "\x1b",
        "\x7f",
        "\x85",
        "\r",
        "\u202e",
        "\u2067",
        "\u200f",
        "\ufeff",
        "\u2028",
        "\U000e0041",
    )
    assert [char for char in hidden if char in page.source] == []
    assert "⟨U+202E⟩abc" in page.text
    assert "characters more" in page.text
