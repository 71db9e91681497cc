"""The page as a document: whole, self-contained, in order; with what a run has, without what it lacks."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from lebm_text.analysis.report.page import write_page
from lebm_text.errors import InputError

from .pages import HOSTILE, Page, frontier_report, judged_report, page_of, write_run

ENV = {
    "date": "2026-01-01",
    "lebm_text": "0.1.0",
    "git": {"commit": "abc123", "changed": True},
    "device_name": "some processor",
    "packages": {"torch": "2.9"},
    "corpus": {
        "name": "e2e",
        "origin": "directory",
        "splits": {"train": {"path": "/secret/place", "sha256": "cd" * 32, "n_sentences": 42061, "n_words": 911391}},
    },
}
TRAJECTORIES: dict[str, Any] = {
    "metric": "trajectories",
    "signature": "trajectories(n=2)",
    "chain": {"n_steps": 2},
    "bands": {"neg_energy": [[0, 1, 2], [1, 2, 3], [2, 3, 4]], "norm": [[5, 6, 7]] * 3},
    "long": {"curve": {"steps": [0, 50, 100], "neg_energy": [[0, 1, 2]] * 3}},
    "judged": [{"decode": "greedy", "step": s, "fppl": {"ppl": 9 - s}, "rppl": {"ppl": 8}} for s in (0, 1, 2, 100)],
    "real": {"fppl": {"ppl": 5.9}, "rppl": {"ppl": 10.9}},
    "statements": ["f settles"],
    "sentences": [{"chain": 0, "decode": "greedy", "step": 0, "f": 0.5, "text": "a chained sentence"}],
}
LIKELIHOOD = {
    "metric": "likelihood",
    "signature": "log_p|test",
    "corpus": {"name": "e2e", "split": "test"},
    "log_z": {"forward": {"value": 0.3182, "standard_error": 0.003}, "reverse": {"value": 0.3145}},
    "ais": {"n_sentences": 20, "nll": 51.21, "nll_standard_error": 4.42, "perplexity": 6.784, "bits_per_byte": None},
    "encoder_kl": {"value": 5.25, "standard_error": 0.5},
    "latent": {"active_units": 3, "unit_variances": [0.5, 0.2, 0.0]},
    "sentences": [{"n_tokens": 5, "log_p_lower": -20.5}, {"n_tokens": 9, "log_p_lower": None}],
}
VIEWS = {
    "metric": "views",
    "explained": [0.25, 0.125],
    "clouds": {name: {"coordinates": [[0.5, 1.0], [1, 2]]} for name in ("p0", "prior", "posterior")},
}
DIRECTIONS = {
    "metric": "directions",
    "positive": "1",
    "majority": 0.613,
    "accuracy": [
        {"n": n, "probe": {"mean": 0.7 + n / 1e4, "spread": 0.01}, "bag_of_words": {"mean": 0.6 + n / 1e4}}
        for n in (10, 1000)
    ],
    "moved": {"attribute": [{"shift": s, "share_positive": 0.5 + s / 8} for s in (-4.0, 4.0)]},
    "sentences": [{"input": "the soup", "moved": [{"shift": -4.0, "sentence": "the bad soup"}, {"shift": 1}]}],
}
ANOMALY = {
    "metric": "anomaly",
    "corpus": {"name": "news"},
    "contrasts": [
        {
            "anomalies": "sport",
            "n_normal": 1900,
            "n_anomalous": 95,
            "share": 0.0476,
            "signature": "AUROC,AUPRC|positive:sport",
            "curves": {
                "a run joint": {"roc": [[0, 0], [0.2, 0.9], [1, 1]], "precision_over_recall": [[0, 1], [1, 0.05]]}
            },
            "results": [
                {"system": "a run", "score": "joint", "per_token": True, "auroc": 0.8125, "auroc_ci95": [0.78, 0.84]},
                {"system": "length", "score": "tokens", "auroc": 0.55, "auprc": 0.0625},
            ],
            "comparisons": [
                {
                    "model": "a run",
                    "baseline": "length",
                    "auroc_difference": 0.26,
                    "ci95": [0.2, 0.3],
                    "model_is": "better",
                }
            ],
        }
    ],
}
METRICS = [
    {
        "step": step,
        "epoch": step / 10,
        "gap": 0.1 * step,
        "nll_token": 3.0,
        "std_ratio": 1.0,
        "tokens_per_second": 900.0,
    }
    for step in range(1, 21)
] + [{"step": 20, "epoch": 2, "valid_ppl_posterior": 4.263, "valid_ppl_prior": 10.19}]


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


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"metric": "fppl"},
        {"metric": "fppl", "results": [{"ppl": "many", "ci95": 3, "samples": [], "warnings": "x", "extra": None}]},
        {"metric": "frontier", "points": [{"fppl": -1, "rppl": 2}], "real": 7},
        {"metric": "frontier", "points": [{"fppl": 1, "rppl": 2}], "results": [1, None]},
        {"metric": "likelihood", "log_z": {"reverse": {"value": 1}}, "ais": 3, "sentences": [1], "latent": []},
        {
            "metric": "trajectories",
            "bands": {"norm": [[1, 2, 3]]},
            "judged": 3,
            "sentences": [3],
            "long": {"curve": []},
        },
        {"metric": "trajectories", "bands": {"norm": [[1, 2]]}},
        {"metric": "likelihood", "exact_of_all": {"n_sentences": 3, "nll": 21.5}, "exact": None},
        {"metric": "anomaly", "contrasts": [{"results": [{"auroc": 2, "auroc_ci95": "?"}], "comparisons": [3]}, None]},
        {"metric": "anomaly", "contrasts": [{"results": [{"auroc": 1}], "curves": {"a": 3, "b": {"roc": [[1], "x"]}}}]},
        {"metric": "anomaly", "contrasts": [{"results": [{"auroc": 1}], "curves": [1]}]},
        {"metric": "views", "clouds": {"a": {"coordinates": [[1, 2], [1], "x"]}, "b": 3}},
        {
            "metric": "directions",
            "accuracy": [{"n": 0}, {"n": 5, "probe": {"mean": 1}}, 7],
            "moved": 3,
            "sentences": [1],
        },
        {"metric": "directions", "accuracy": [], "sentences": [{"input": 3, "moved": [{"sentence": 4}]}]},
        {"metric": 3, "deep": {"er": {"and": {"still": {"deeper": {"than": {"that": {"goes": 1}}}}}}}, "none": []},
        {"metric": "likelihood", "exact_of_all": {"n_sentences": 10**400, "nll": 10**400}},
        {"numbers": [float(i) for i in range(99)], "bad": [float("nan"), 1], "yes": True, "mixed": [1, "a", None]},
    ],
    ids=str,
)
def test_a_report_of_any_shape_leaves_a_page(tmp_path: Path, report: dict[str, Any]) -> None:
    check_document(page_of(write_run(tmp_path / "run", reports={"some": report})))


def test_a_report_of_weights_that_are_gone_is_left_out_and_named(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", reports={"views": VIEWS | {"sha256": {"weights": "0" * 64}}})
    (directory / "model.safetensors").write_bytes(b"weights")
    page = page_of(directory)
    assert "Views of the latent space" not in page.sections
    assert "views.json: of weights that the run no longer has" in page.text


def test_long_lists_are_shown_by_their_spread(tmp_path: Path) -> None:
    report = {"numbers": [float(i) for i in range(99)], "rows": [{"x": i} for i in range(100)]}
    text = page_of(write_run(tmp_path / "run", reports={"some": report})).text
    assert "99 numbers, 0 to 98, median 49" in text
    assert "rows (first 60)" in text


def test_figures_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    records = [{"step": 1, "epoch": 0.5, "gap": float("nan")}, {"step": 2, "epoch": 1.0, "gap": 0.25}]
    page = page_of(write_run(tmp_path / "run", metrics=records))
    check_document(page)
    assert "nan" not in "".join(page.values("d")).lower()
    assert page.text.count("(1, 0.25)") == 1


def test_warnings_are_those_that_training_said(tmp_path: Path) -> None:
    records = [
        {"step": n, "epoch": n / 2, "gap": gap} for n, gap in ((1, 0.0), (2, 99.0), (3, 99.0), (4, 0.0), (5, 77.0))
    ]
    text = page_of(write_run(tmp_path / "run", metrics=records)).text
    assert "2 warnings" in text
    assert "update 2: the phases drift apart: f(z+) - f(z-) = 99.0 nats" in text
    assert "update 5: the phases drift apart" in text
    assert "update 3:" not in text


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", metrics=METRICS)
    with (directory / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 21, "epoch": 2.1, "ga')
    page = page_of(directory)
    assert "not finished" in page.text
    assert "update 20" in page.text
    assert "What could not be read" not in page.sections


def test_damaged_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    directory = write_run(
        tmp_path / "run", metrics=METRICS, samples={"epoch-0001.txt": ["kept"]}, reports={"good": {"a": 1}}
    )
    (directory / "eval" / "bad.json").write_text('{"a": ')
    (directory / "metrics.jsonl").write_text("nonsense\n" + '{"step": 1, "epoch": 1}\n')
    (directory / "env.json").write_bytes(b"\xff\xfe")
    output = tmp_path / "page.html"
    notes = write_page(directory, output)
    assert len(notes) == 3
    page = Page(output.read_text(encoding="utf-8"))
    check_document(page)
    assert "What could not be read" in page.sections
    assert "kept" in page.text
    assert all(name in page.text for name in ("bad.json", "metrics.jsonl", "env.json", "good"))


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run"):
        write_page(tmp_path, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
