"""Every benchmark runs through at tiny sizes and reports every field; how long anything took is of no concern."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import generate, judge, ngram, posterior, rows, table, train_epoch
from benchmarks.child import Finished
from benchmarks.command import Setting, main
from benchmarks.report import Report

from ..lebm_text.toy import write_text_corpus

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {
    "posterior": posterior.measure,
    "generate": generate.measure,
    "train_epoch": train_epoch.measure,
    "judge": judge.measure,
}
NUMBERS = ("baseline", "ours", "ratio", "peak_share", "nll_bias", "nll_error", "baseline_memory", "ours_memory")
OF_GRADIENTS = ("baseline_autograd", "grad_error", "grad_cosine")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_corpus(tmp_path_factory.mktemp("text") / "tiny")


@pytest.fixture(autouse=True)
def _memory_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh processes take seconds each and have their own test; what they would run is run here."""

    def instead(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> dict[str, float]:
        prepare(*arguments)()
        return {"process": 2.0, "step": 1.0}

    monkeypatch.setattr(rows, "peak_memory", instead)


def _report(measure: Callable[[Setting], Report], capsys: pytest.CaptureFixture[str], corpus: Path) -> Report:
    main("", measure, ["--smoke", "--json", "--corpus", str(corpus), "--repetitions", "1"])
    printed = capsys.readouterr()
    report: Report = json.loads(printed.out)
    return report


@pytest.mark.parametrize("name", MEASURES)
def test_json_has_a_full_row_for_each_batch_and_precision(
    name: str, capsys: pytest.CaptureFixture[str], corpus: Path
) -> None:
    report = _report(MEASURES[name], capsys, corpus)
    found = [(row["batch"], row["precision"]) for row in report["results"]]
    assert found == [(32, "float32"), (32, "bf16"), (128, "float32"), (128, "bf16")]
    for row in report["results"]:
        assert all(math.isfinite(row[key]) for key in NUMBERS)
        for key in OF_GRADIENTS:
            assert row[key] is None if name in ("generate", "judge") else math.isfinite(row[key])
        assert row["ratio"] == pytest.approx(row["ours"] / row["baseline"])
    assert report["errors_from"]["updates"] == 3
    assert report["errors_from"]["sentences"] == 8


def test_errors_are_small_in_float32_and_larger_in_bf16(capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    """Against float64 on the same weights; so small a model rounds less than a real one."""
    for measure in (posterior.measure, train_epoch.measure):
        exact, rounded = _report(measure, capsys, corpus)["results"][:2]
        assert 0 < exact["grad_error"] < 1e-5 < rounded["grad_error"] < 0.1
        assert exact["grad_cosine"] > 1 - 1e-6
        assert rounded["grad_cosine"] > 0.99
        assert exact["nll_error"] < 1e-4 < rounded["nll_error"] < 0.1
        assert abs(exact["nll_bias"]) <= exact["nll_error"]


def test_epochs_of_presets_are_measured(capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    epochs = _report(train_epoch.measure, capsys, corpus)["epochs"]
    assert [epoch["preset"] for epoch in epochs] == ["quick", "paper"]
    for epoch in epochs:
        assert epoch["minutes"] > 0
        assert epoch["baseline_minutes"] > 0
        assert epoch["posterior_share"] + epoch["prior_share"] + epoch["rest_share"] == pytest.approx(1)


def test_the_ablation_exchanges_one_part_after_the_other(capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    rows = _report(posterior.measure, capsys, corpus)["ablation"]
    assert [row["lengths"] for row in rows] == ["ragged", "equal"]
    assert all(list(row)[2:] == ["padded", "packed", "softmax", "scan", "bf16"] for row in rows)
    assert all(value > 0 for row in rows for value in list(row.values())[2:])


def test_one_table_holds_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    monkeypatch.setattr(ngram, "run", lambda *_commands: Finished(80.0, "12.5"))
    monkeypatch.setenv("PATH", "")
    main("", table.measure, ["--smoke", "--corpus", str(corpus), "--repetitions", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["benchmark", "batch", "precision", "baseline"]
    assert [line.split()[0] for line in lines[1 : 1 + 4 * len(MEASURES)]] == [
        name for name in MEASURES for _ in range(4)
    ]
    assert [row.split()[0] for row in lines if row.split()[-1:] == ["12.5"]] == ["3", "5"]  # n-gram models


@pytest.mark.parametrize("name", [*MEASURES, "gpu", "ngram", "table"])
def test_scripts_start_from_anywhere(name: str, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--help"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--json" in done.stdout
