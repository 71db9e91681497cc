"""The page of a run whose files are damaged, odd, or of other weights: what can be shown is, and the rest is named."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.page.page import write_page
from lebm_text.run import Run
from lebm_text.store import sha256_file

from .pages import METRICS, OLD, Page, check_document, page_of, write_run

REPORTS = sorted(path.stem for path in (OLD / "eval").glob("*.json"))


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"metric": 3},
        {"kind": "novel", "answer": 42},
        {"metric": "fppl", "results": [{"ppl": "many", "ci95": 3, "samples": [], "warnings": "x", "extra": None}]},
        {"metric": "frontier", "points": [{"fppl": -1, "rppl": 2}], "real": 7},
        {"metric": "likelihood", "log_z": {"reverse": {"value": 1}}, "ais": 3, "sentences": [1], "latent": []},
        {"metric": "trajectories", "bands": {"norm": [[1, 2]]}},
        {"metric": "views", "clouds": {"a": {"coordinates": [[1, 2], [1], "x"]}, "b": 3}},
        {
            "metric": "views",
            "clouds": {},
            "explained": [1, 10**400],
            "n": 1,
            "signature": "",
            "sha256": {},
            "versions": {},
        },
        {"metric": "anomaly", "contrasts": [{"results": [{"auroc": 2, "auroc_ci95": "?"}], "comparisons": [3]}, None]},
    ],
    ids=str,
)
def test_a_report_of_any_shape_leaves_a_page(tmp_path: Path, report: dict[str, Any]) -> None:
    page = page_of(write_run(tmp_path / "run", reports={"some": report}))
    check_document(page)
    assert "What could not be read" in page.sections
    assert "some.json" in page.text


@pytest.mark.parametrize("name", REPORTS)
def test_lists_of_a_report_may_be_empty(tmp_path: Path, name: str) -> None:
    """Whether it is then shown or named: there is a page."""

    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(item) for key, item in value.items()}
        return [] if isinstance(value, list) and len(value) != 2 else value

    report = emptied(json.loads((OLD / "eval" / f"{name}.json").read_text(encoding="utf-8")))
    check_document(page_of(write_run(tmp_path / "run", reports={name: report})))


def test_a_report_of_weights_that_are_gone_is_left_out_and_named(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD, tmp_path / "run"))
    assert "Views of the latent space" in page_of(run).sections
    (run / "model.safetensors").write_bytes(b"other weights")
    page = page_of(run)
    assert "Views of the latent space" not in page.sections
    assert "views.json: of weights that the run no longer has" in page.text


def test_samples_that_are_not_what_their_record_says_have_no_rates_and_no_command(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD, tmp_path / "run"))
    record = {
        "settings": {"n": 2, "seed": 1},
        "rates": {"unk": 0.25},
        "sha256": hashlib.sha256(b"a b\nc\n").hexdigest(),
    }
    weights = sha256_file(run / "model.safetensors")
    made = {
        "mine": ("a b\nc\n", weights), "edited": ("a b\nc\nd\n", weights), "others": ("a b\nc\n", "0" * 64),
    }  # fmt: skip
    for name, (text, of) in made.items():
        (run / "samples" / f"{name}.txt").write_text(text)
        (run / "samples" / f"{name}.txt.json").write_text(json.dumps(record | {"weights_sha256": of}))
    page = page_of(run)
    assert page.text.count("25.0%") == 1
    assert "samples/mine.txt" in page.text
    assert "samples/edited.txt was changed after it was generated: its rates and the command" in page.text
    assert "samples/others.txt is of other weights than the run has: its rates and the command" in page.text
    assert not re.search(r"-o \S*(edited|others)", page.text)


def test_texts_that_are_not_what_their_name_says_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", samples={"one.txt": ["x"], "none.txt": [], "two.txt": ["x", "\ufffd"]})
    (run / "samples" / "latin.txt").write_bytes("é\n".encode("latin1"))
    (run / "samples" / "pairs.tsv").write_text("a\tb\tc\nno tab\nd\te\n")
    page = page_of(run)
    assert "samples/latin.txt is not UTF-8 throughout" in page.text
    assert "two.txt is not UTF-8" not in page.text
    assert "samples/pairs.tsv is not what reconstruct writes" in page.text
    for each in ("One sentence.", "No sentence.", "The first 2 sentences."):
        assert each in page.text


def test_figures_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    records = [{"step": 1, "epoch": 0.5, "gap": float("nan")}, {"step": 2, "epoch": 1.0, "gap": 0.25}]
    page = page_of(write_run(tmp_path / "run", metrics=records))
    check_document(page)
    assert "nan" not in "".join([*page.values("d"), *page.values("x"), *page.values("y")]).lower()
    assert "Training curves" in page.sections


def test_whole_numbers_beyond_those_of_a_float_are_left_out(tmp_path: Path) -> None:
    large = 10**400
    records = [{"step": 1, "epoch": 1, "gap": large}, {"step": large, "epoch": 2}, {"step": 3, "epoch": large}]
    run = write_run(tmp_path / "run", metrics=records, samples={"a.txt": ["x"]}, progress={"step": large, "epoch": 1})
    (run / "samples" / "a.txt.json").write_text(json.dumps({"rates": {"empty": large, "unk": 0.5}}))
    page = page_of(run)
    check_document(page)
    assert "(of all, 50.0% with <unk>)" in page.text


def test_warnings_are_those_that_training_said(tmp_path: Path) -> None:
    records = [
        {"step": n, "epoch": n / 2, "gap": gap} for n, gap in ((1, 0.0), (2, 99.0), (3, 99.0), (4, 0.0), (5, 77.0))
    ]
    text = page_of(write_run(tmp_path / "run", metrics=records)).text
    assert "update 2 to 4: the phases drift apart: f(z+) - f(z-) = 99.0 nats" in text
    assert "update 5: the phases drift apart" in text
    assert "update 3" not in text


def test_a_warning_that_ceased_does_not_stand_in_the_head(tmp_path: Path) -> None:
    gaps = ((1, 99.0), (2, 0.0), (3, 0.0))
    page = page_of(write_run(tmp_path / "run", metrics=[{"step": n, "epoch": n / 2, "gap": gap} for n, gap in gaps]))
    assert "0of collapse or divergence in force, 1 no longer" in page.text.replace("\n", "")
    assert "No warning of collapse or divergence is in force." in page.text
    assert "1 earlier warning, no longer so" in page.text


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", metrics=METRICS)
    with (directory / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 21, "epoch": 2.1, "ga')
    page = page_of(directory)
    assert "not finished" in page.text
    assert "update 20" in page.text
    assert "What could not be read" not in page.sections


def test_damaged_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", metrics=METRICS, samples={"epoch-0001.txt": ["kept"]})
    (directory / "eval").mkdir()
    (directory / "eval" / "bad.json").write_text('{"a": ')
    (directory / "metrics.jsonl").write_text("nonsense\n" + '{"step": 1, "epoch": 1}\n')
    (directory / "env.json").write_bytes(b"\xff\xfe")
    output = tmp_path / "page.html"
    assert len(write_page(Run(directory), output)) == 3
    page = Page(output.read_text(encoding="utf-8"))
    check_document(page)
    assert "What could not be read" in page.sections
    assert "kept" in page.text
    assert all(name in page.text for name in ("bad.json", "metrics.jsonl", "env.json"))
    assert str(tmp_path) not in page.source


@pytest.mark.parametrize("corpus", [5, {"name": 5, "source": 5}, {"splits": [1]}, {"splits": {"train": 5}}])
def test_a_damaged_environment_leaves_a_page(tmp_path: Path, corpus: Any) -> None:
    check_document(page_of(write_run(tmp_path / "run", env={"corpus": corpus})))


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run"):
        write_page(Run(tmp_path), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
