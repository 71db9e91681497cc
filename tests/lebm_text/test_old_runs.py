"""Run directories of earlier versions still load, go on and have their page: `tests/data/run-0.1.0`, of `tiny-corpus`.

The run was stopped by --max-steps before its last epoch ended; its reports are one of every kind.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lebm_text.cli.main import main
from lebm_text.model import LatentEBM
from lebm_text.run import Run

from .page.pages import Page, check_document

DATA = Path(__file__).resolve().parents[1] / "data"
OLD = DATA / "run-0.1.0"
SECTIONS = [
    "Samples",
    "Reconstructions",
    "Scores",
    "Fluency against coverage",
    "Training curves",
    "Likelihood",
    "Trajectories of the prior chain",
    "Views of the latent space",
    "Direction of an attribute",
    "Anomaly detection",
    "Settings, text and machine",
    "How to repeat it",
    "Signatures",
]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old run where it may be written to; the working directory is that from which its corpus is found."""
    monkeypatch.chdir(DATA)
    return Path(shutil.copytree(OLD, tmp_path / OLD.name))


def test_the_sentences_are_those_of_then() -> None:
    made = json.loads((OLD / "samples" / "kept.txt.json").read_text(encoding="utf-8"))["settings"]
    model = LatentEBM.from_pretrained(OLD, device="cpu")
    sentences = (OLD / "samples" / "kept.txt").read_text(encoding="utf-8").splitlines()
    assert model.generate(made["n"], seed=made["seed"]).sentences == sentences
    assert len(set(sentences)) > 5


def test_training_goes_on(copy: Path) -> None:
    assert main(["train", "--resume", "--out", str(copy), "--device", "cpu"]) == 0
    records = [json.loads(line) for line in (copy / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert records[-1]["step"] == 32
    assert (copy / "samples" / "epoch-0004.txt").is_file()


def test_the_page_has_its_sections(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--run", str(copy)]) == 0
    assert "not on the page" not in capsys.readouterr().err
    page = Page((copy / "report.html").read_text(encoding="utf-8"))
    check_document(page)
    assert page.sections == SECTIONS


@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_the_samples_are_judged_as_then(copy: Path, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([metric, "--run", str(copy), "--lm", "kn5", "-n", "20", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    (kept,) = json.loads((OLD / "eval" / f"{metric}-kn5-default-test.json").read_text(encoding="utf-8"))["results"]
    assert found["ppl"] == pytest.approx(kept["ppl"])
    assert found["signature"].partition("|v:")[0] == kept["signature"].partition("|v:")[0]


def test_the_newest_report_of_a_kind_is_found_and_nothing_is_written(copy: Path) -> None:
    newer = json.loads((copy / "eval" / "views.json").read_text()) | {"command": "lebm-text views, later"}
    (copy / "eval" / "again.json").write_text(json.dumps(newer))
    os.utime(copy / "eval" / "views.json", ns=(0, 0))
    run = Run(copy)
    found = run.report("views")
    assert found is not None
    assert found.command == "lebm-text views, later"
    assert run.notes == []
    shutil.rmtree(copy / "eval")
    assert run.report("views") is None
    assert not (copy / "eval").exists()


def test_a_stale_report_is_noted_once(copy: Path) -> None:
    with (copy / "model.safetensors").open("ab") as weights:
        weights.write(b" ")
    run = Run(copy)
    run.reports()
    run.reports()
    assert run.notes.count("views.json: of weights that the run no longer has") == 1
