"""The benchmark for a GPU runs through at tiny sizes on a CPU, recordings included, and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.sizes import SMOKE

from ..lebm_text.recording import record_on_cpu

WORKS = [*[("update", name) for name in ("ours", "unrecorded", "baseline")], ("generate", "ours")]
WORKS += [("judge", "ours"), ("judge", "baseline")]


def test_every_row_is_measured_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output = tmp_path / "gpu.json"
    gpu.main(["--smoke", "--repetitions", "1", "--threads", "1", "--output", str(output)])
    report = json.loads(output.read_text(encoding="utf-8"))
    assert [(row["work"], row["contestant"]) for row in report["results"]] == WORKS
    assert all(row["rate"] > 0 and row["first_seconds"] > 0 for row in report["results"])
    for row in report["results"]:
        work = {"update": SMOKE.update_work()}.get(row["work"])
        if work is not None:
            assert row["peak_share"] == pytest.approx(1e-12 * work * row["rate"] / report["peak_tflops"])
    assert report["device"] == "cpu" and report["peak_tflops"] > 0 and report["smoke"]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[: len(WORKS)]] == [work for work, _ in WORKS]
    gpu.main(["--smoke", "--json", "--repetitions", "1", "--threads", "1", "--seconds", "1000"])
    assert [(row["work"], row["contestant"]) for row in json.loads(capsys.readouterr().out)["results"]] == WORKS


def test_only_ours_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fail(function: object, given: object, pool: object) -> None:
        seen.append(function)
        raise RuntimeError("no device")

    record_on_cpu(monkeypatch, fail)  # type: ignore[arg-type]
    gpu._update(SMOKE, 4, "unrecorded", torch.device("cpu"))()
    gpu._update(SMOKE, 4, "baseline", torch.device("cpu"))()
    assert not seen
    with pytest.warns(UserWarning, match="no CUDA graph"):
        gpu._update(SMOKE, 4, "ours", torch.device("cpu"))()
    assert len(seen) == 2  # of the posterior's chain and of the prior's


def test_without_a_device_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "there is no CUDA device; --smoke runs on the CPU" in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> object:
        raise torch.cuda.OutOfMemoryError("no memory")

    row = gpu._row(lambda: full, torch.device("cpu"), 1, 1, 1.0, 1.0)
    assert row == {"rate": None, "error": "out of memory"}
