"""`lebm-text train`: what it refuses, what it hands on, how it ends; and one small run from start to finish."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.training import run as run_module

ROOT = Path(__file__).resolve().parents[3]
TINY = [
    "--set=text.max_length=8",
    "--set=model.embedding_dim=8",
    "--set=model.hidden_dim=8",
    "--set=model.latent_dim=2",
    "--set=model.prior_hidden_dim=4",
    "--set=inference.n_steps=2",
    "--set=prior.n_steps=2",
    "--set=training.batch_size=8",
    "--set=training.report_every=2",
    "--set=training.n_epochs=2",
    "--set=training.n_threads=1",
    "--precision=fp32",
    "--device=cpu",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A directory with 32 + 8 + 8 short sentences."""
    directory = tmp_path / "verses"
    directory.mkdir()
    for split, n in (("train", 32), ("valid", 8), ("test", 8)):
        lines = [f"{('a', 'the')[i % 2]} {('cat', 'dog', 'bird')[i % 3]} sat down .\n" for i in range(n)]
        (directory / f"{split}.txt").write_text("".join(lines))
    return directory


@pytest.fixture
def finished(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run that has done all its updates."""
    out = tmp_path / "run"
    assert main(["train", str(corpus), "--out", str(out), *TINY]) == 0
    capsys.readouterr()
    return out


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line on stderr with which these arguments are refused."""
    assert main(["train", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "missing CORPUS"),
        (["--resume"], "--out DIR"),
        (["--resume", "--out", "nowhere"], "is no run"),
        (["--resume", "--overwrite", "--out", "x"], "give one of them"),
        (["no-such-corpus"], "neither a directory nor a known corpus"),
        (["verses", "stray"], "stray"),
        (["verses", "--preset", "dmo"], "did you mean demo?"),
        (["verses", "--set", "model.hiden_dim=3"], "did you mean model.hidden_dim?"),
        (["verses", "--set", "hidden_dim=3"], "section.key=value"),
        (["verses", "--set", "model.hidden_dim=wide"], "model.hidden_dim must be a whole number"),
        (["verses", "--seed", "-1"], "--seed"),
        (["verses", "--seed", str(2**63)], "--seed"),
        (["verses", "--max-steps", "0"], "--max-steps"),
        (["verses", "--max-minutes", "0"], "--max-minutes"),
        (["verses", "--max-minutes", "nan"], "finite"),
        (["verses", "--device", "abacus"], "--device"),
        (["verses", "--precision", "fp7"], "--precision"),
        (["verses", "--data-dir", "nowhere"], "nowhere"),
        (["verses", "--out", "verses"], "neither empty nor a run"),
        (["verses", "--out", "verses/train.txt"], "is a file"),
        (["verses", "--out", "verses/train.txt/run"], "Not a directory"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    part: str,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(corpus.parent)
    before = digests(corpus.parent)
    assert part in refusal(capsys, *arguments)
    assert digests(corpus.parent) == before


def test_options_reach_the_call(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def train(config: Any, found: Any, out: Path, **options: Any) -> run_module.Summary:
        calls.append({"config": config, "corpus": found, "out": out, **options})
        return run_module.Summary("stopped", 3, out)

    monkeypatch.setattr(run_module, "train", train)
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "kept"))
    options = ["--seed", "7", "--precision", "bf16", "--max-steps", "3", "--max-minutes", "1.5", "--device", "cpu"]
    assert main(["train", str(corpus), "--preset", "demo", "--set", "prior.n_steps=11", *options]) == 130
    (call,) = calls
    assert call["out"] == tmp_path / "kept" / "verses"
    assert call["config"].training.seed == 7
    assert call["config"].training.precision == "bf16"
    assert call["config"].prior.n_steps == 11
    assert (call["max_steps"], call["max_minutes"], call["device"]) == (3, 1.5, "cpu")
    assert call["corpus"].splits["train"].n_sentences == 32
    assert not call["should_stop"]()


def test_finished_run_is_left_as_it_is(finished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(finished)
    assert {path.name for path in finished.iterdir()} >= {
        "config.json",
        "env.json",
        "metrics.jsonl",
        "model.safetensors",
    }
    assert main(["train", "--resume", "--out", str(finished)]) == 0
    assert main(["train", str(corpus), *TINY, "--resume", "--out", str(finished)]) == 0
    assert digests(finished) == before


def test_existing_run_is_kept_unless_told(finished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(finished)
    message = refusal(capsys, corpus, "--out", finished, *TINY)
    assert "--resume" in message
    assert "--overwrite" in message
    assert digests(finished) == before
    (finished / "notes.txt").write_text("mine")
    assert main(["train", str(corpus), "--out", str(finished), *TINY, "--seed", "2", "--overwrite"]) == 0
    assert json.loads((finished / "config.json").read_text())["training"]["seed"] == 2
    assert (finished / "notes.txt").read_text() == "mine"


def test_resume_refuses_another_configuration_or_corpus(
    finished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ("--resume", "--out", finished)
    assert "training.n_epochs is 2, not 3" in refusal(capsys, *resume, "--set", "training.n_epochs=3")
    assert "training.seed is 1, not 5" in refusal(capsys, *resume, "--seed", "5")
    assert "text.max_length is 8, not 200" in refusal(capsys, *resume, "--preset", "paper")
    assert "trained on verses, not on ptb" in refusal(capsys, "ptb", *resume)


def test_damaged_configuration_is_one_line(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("[]", "{", ""):
        (finished / "config.json").write_text(content)
        assert "config.json is damaged" in refusal(capsys, "--resume", "--out", finished)


def test_best_weights_are_those_of_the_lowest_score(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", str(corpus), "--out", str(out), *TINY, "--set=training.select=valid_kn5"]) == 0
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    scores = [record["valid_kn5"] for record in records if "valid_kn5" in record]
    assert len(scores) == 2
    assert all(score > 1 for score in scores)
    best = out / "checkpoints" / "best" / "model.safetensors"
    assert best.read_bytes() == (out / "model.safetensors").read_bytes()


def test_json_is_all_that_stdout_gets(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(corpus), "--out", str(tmp_path / "run"), *TINY, "--json", "--max-steps", "5"]) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "end"
    assert {"start", "report", "checkpoint"} <= set(kinds)
    assert events[-1]["reason"] == "max_steps"
    assert events[-1]["step"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_writes_a_checkpoint_and_exits_with_130(number: signal.Signals, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(corpus), "--out", str(out), *TINY, "--set=training.n_epochs=100000"]
    with subprocess.Popen([sys.executable, "-m", "lebm_text", *arguments], cwd=ROOT, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300
        # The first line of metrics means that updates are under way.
        while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").stat().st_size:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, number)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert process.wait(timeout=300) == 130
    assert "Traceback" not in said
    assert f"lebm-text train --resume --out {out}" in said
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert main(["train", "--resume", "--out", str(out), "--max-steps", str(last + 6)]) == 0
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] > last
