"""Every benchmark runs through at tiny sizes and reports every field; how long anything took is of no concern."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks import generate, judge, ngram, posterior, rows, table, train_epoch
from benchmarks.child import Finished
from benchmarks.command import Setting, main
from benchmarks.report import Report, as_text

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


class Measured(NamedTuple):
    """What `table` prints and the report of each benchmark in it, by one run of them all."""

    report: Report
    parts: dict[str, Report]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Memory in fresh processes takes seconds each and has its own test; what they would run is run here."""
    parts: dict[str, Report] = {}

    def memory(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> dict[str, float]:
        prepare(*arguments)()
        return {"process": 2.0, "step": 1.0}

    def kept(name: str) -> Callable[[Setting], Report]:
        def measure(setting: Setting) -> Report:
            parts[name] = MEASURES[name](setting)
            return parts[name]

        return measure

    corpus, printed = write_text_corpus(tmp_path_factory.mktemp("text") / "tiny"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(rows, "peak_memory", memory)
        patch.setattr(ngram, "run", lambda *_commands: Finished(80.0, "12.5"))
        patch.setenv("PATH", "")
        for name in MEASURES:
            patch.setitem(table.BENCHMARKS, name, kept(name))
        main("", table.measure, ["--smoke", "--json", "--corpus", str(corpus), "--repetitions", "1"])
    return Measured(json.loads(printed.getvalue()), parts)


@pytest.mark.parametrize("name", MEASURES)
def test_json_has_a_full_row_for_each_batch_and_precision(name: str, measured: Measured) -> None:
    results = [row for row in measured.report["results"] if row["benchmark"] == name]
    assert [{"benchmark": name, **row} for row in measured.parts[name]["results"]] == results
    found = [(row["batch"], row["precision"]) for row in results]
    assert found == [(32, "float32"), (32, "bf16"), (128, "float32"), (128, "bf16")]
    for row in results:
        assert all(math.isfinite(row[key]) for key in NUMBERS)
        for key in OF_GRADIENTS:
            assert row[key] is None if name in ("generate", "judge") else math.isfinite(row[key])
        assert row["ratio"] == pytest.approx(row["ours"] / row["baseline"])
    assert measured.report["errors_from"]["updates"] == 3
    assert measured.report["errors_from"]["sentences"] == 8


def test_errors_are_small_in_float32_and_larger_in_bf16(measured: Measured) -> None:
    """Against float64 on the same weights; so small a model rounds less than a real one."""
    for name in ("posterior", "train_epoch"):
        exact, rounded = measured.parts[name]["results"][:2]
        assert 0 < exact["grad_error"] < 1e-5 < rounded["grad_error"] < 0.1
        assert exact["grad_cosine"] > 1 - 1e-6
        assert rounded["grad_cosine"] > 0.99
        assert exact["nll_error"] < 1e-4 < rounded["nll_error"] < 0.1
        assert abs(exact["nll_bias"]) <= exact["nll_error"]


def test_epochs_of_presets_are_measured(measured: Measured) -> None:
    epochs = measured.report["epochs"]
    assert [epoch["preset"] for epoch in epochs] == ["quick", "paper"]
    for epoch in epochs:
        assert epoch["minutes"] > 0
        assert epoch["baseline_minutes"] > 0
        assert epoch["posterior_share"] + epoch["prior_share"] + epoch["rest_share"] == pytest.approx(1)


def test_the_ablation_exchanges_one_part_after_the_other(measured: Measured) -> None:
    rows = measured.report["ablation"]
    assert [row["lengths"] for row in rows] == ["ragged", "equal"]
    assert all(list(row)[2:] == ["padded", "packed", "softmax", "scan", "bf16"] for row in rows)
    assert all(value > 0 for row in rows for value in list(row.values())[2:])


def test_one_table_holds_all(measured: Measured) -> None:
    lines = as_text(measured.report).splitlines()
    assert lines[0].split()[:4] == ["benchmark", "batch", "precision", "baseline"]
    assert [line.split()[0] for line in lines[1 : 1 + 4 * len(MEASURES)]] == [
        name for name in MEASURES for _ in range(4)
    ]
    assert [row.split()[0] for row in lines if row.split()[-1:] == ["12.5"]] == ["3", "5"]  # n-gram models


FROM_ANYWHERE = """
import contextlib, io, json, runpy, sys
said, path = {}, sys.path[:]
for script in sys.argv[1:]:
    sys.path[:], sys.argv = path, [script, "--help"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    said[script] = printed.getvalue()
print(json.dumps(said))
"""


def test_scripts_start_from_anywhere(tmp_path: Path) -> None:
    """All in one process, which imports torch once; the search path of each is that of the first."""
    scripts = [str(ROOT / "benchmarks" / f"{name}.py") for name in (*MEASURES, "gpu", "ngram", "table")]
    call = [sys.executable, "-c", FROM_ANYWHERE, *scripts]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(_only_packages(tmp_path))
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert list(said) == scripts
    assert all("--json" in text for text in said.values())


def _only_packages(directory: Path) -> Path:
    """A directory to import from in which there are no benchmarks."""
    for name in ("lebm_text", "lm_eval"):
        (directory / "packages").mkdir(exist_ok=True)
        (directory / "packages" / name).symlink_to(ROOT / name)
    return directory / "packages"


@pytest.mark.parametrize("arguments", [["--corpus", "nowhere"], ["--run", "nowhere"]])
def test_a_corpus_or_a_run_that_there_is_not_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main("", table.measure, arguments)
    line = capsys.readouterr().err
    assert (refused.value.code, line.startswith("error: "), line.count("\n")) == (2, True, 1)
