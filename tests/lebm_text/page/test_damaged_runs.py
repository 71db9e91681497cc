"""The page of a run whose files are damaged, odd, or of other weights: what can be shown is, and the rest is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.page.page import write_page

from .examples import METRICS, VIEWS
from .pages import Page, check_document, page_of, write_run


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
