"""The benchmark for a GPU runs through at tiny sizes on a CPU, recordings included, and says what it measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.sizes import FULL, SMOKE

from ..lebm_text.recording import record_on_cpu

ASKED = [("update", "ours"), ("update", "prototype"), ("epoch", "ours"), ("judge_to_the_end", "ours"), ("rppl", "ours")]
ASKED += [("start", "ours"), ("transformer", "ours"), ("epoch", "ours")]
GRID = [
    ("update", "unrecorded"),
    ("update", "baseline"),
    ("generate", "ours"),
    ("judge", "ours"),
    ("judge", "unrecorded"),
    ("judge", "baseline"),
]
SPEED = {"rate", "peak_share", "first_seconds"}
KEYS = {
    **dict.fromkeys(["update", "generate", "judge", "transformer"], SPEED),
    "epoch": {"batch_tokens", "rate", "first_seconds", "seconds", "share", "recordings", "used_gb"},
    "judge_to_the_end": {"corpus", "rate", "seconds", "epochs", "perplexity"},
    "rppl": {"corpus", "samples", "seconds", "epochs"},
    "start": {"ready_seconds", "seconds"},
}
HEAD = {"work", "width", "batch", "contestant", "reserved_gb"}
BRIEFLY = ["--smoke", "--repetitions", "1", "--threads", "1"]


def test_every_row_is_measured_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output, works = tmp_path / "gpu.json", ASKED + GRID
    gpu.main([*BRIEFLY, "--output", str(output)])
    report = json.loads(output.read_text(encoding="utf-8"))
    assert [(row["work"], row["contestant"]) for row in report["results"]] == works
    operations = {"update": SMOKE.update_work(), "transformer": gpu.transformer_work(SMOKE)}
    for row in report["results"]:
        assert {"batch", *row} == HEAD | KEYS[row["work"]]
        assert all(row[key] > 0 for key in ("rate", "first_seconds", "seconds") if key in row)
        if row["work"] in operations:
            work = operations[row["work"]]
            assert row["peak_share"] == pytest.approx(1e-12 * work * row["rate"] / report["peak_tflops"])
    whole, judged, reverse, start = report["results"][2:6]
    assert whole["share"] == 1 and whole["recordings"] == 0
    assert judged["perplexity"] is None and judged["corpus"] == "lifelike"
    assert reverse["samples"] == 24
    assert 0 < start["ready_seconds"] < start["seconds"]
    assert report["device"] == "cpu" and report["peak_tflops"] > 0 and report["smoke"]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[: len(works)]] == [work for work, _ in works]


def test_a_row_that_fails_says_so_and_the_others_follow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("an illegal instruction")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "_asked", lambda bench: [({"work": "start", "contestant": "ours"}, fail)])
    with pytest.raises(SystemExit, match="could not be measured: start"):
        gpu.main([*BRIEFLY, "--json", "--seconds", "1000"])
    first, *others = json.loads(capsys.readouterr().out)["results"]
    assert first["error"] == "RuntimeError: an illegal instruction"
    assert [(row["work"], row["contestant"]) for row in others] == GRID


@pytest.mark.gpu
def test_every_row_is_measured_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main([*BRIEFLY, "--json", "--seconds", "100"])
    report = json.loads(capsys.readouterr().out)
    assert report["device"] != "cpu"
    epochs = [row for row in report["results"] if row["work"] == "epoch"]
    assert all(row["recordings"] > 0 and row["used_gb"] > 0 for row in epochs)


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
    gpu._judge(SMOKE, 4, "unrecorded", torch.device("cpu"))()
    assert len(seen) == 2
    with pytest.warns(UserWarning, match="no CUDA graph"):
        gpu._judge(SMOKE, 4, "ours", torch.device("cpu"))()
    assert len(seen) == 3


def test_without_a_device_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "there is no CUDA device; --smoke runs on the CPU" in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_said() -> None:
    def full() -> dict[str, Any]:
        raise torch.cuda.OutOfMemoryError("no memory")

    assert gpu._row(full, torch.device("cpu")) == {"rate": None, "error": "out of memory"}


def test_layers_of_the_transformer_are_counted() -> None:
    """Of a width at which they are nearly all: two of 12 H² weights, each on four vectors of z, too."""
    sizes = replace(FULL, vocab_size=1, width=1024, length=24)
    forth_and_back, of_weights = 4 * 10, 6
    expected = (forth_and_back + of_weights) * 2 * 12 * 1024**2 * 28 / 24
    assert gpu.transformer_work(sizes) == pytest.approx(expected, rel=1e-4)
