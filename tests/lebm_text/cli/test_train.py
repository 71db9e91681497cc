"""`lebm-text train` from end to end: stops and kills of every kind, resumed to the bytes of an unbroken run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text.cli.main import main
from lebm_text.config import RESOLVED_AT_START
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.training.start import last_checkpoint

from ..toy import metrics_of, write_text_corpus
from .test_main import one_line

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = (
    "text.max_length=8",
    "model.latent_dim=3",
    "model.embedding_dim=6",
    "model.hidden_dim=6",
    "model.prior_hidden_dim=5",
    "inference.n_steps=2",
    "inference.step_size=0.3",
    "inference.persistent=true",
    "prior.n_steps=2",
    "training.n_epochs=12",
    "training.batch_size=8",
    "training.n_threads=1",
    "training.report_every=3",
    "training.checkpoint_every=4",
    "training.validation_sentences=5",
)


def _arguments(corpus: Path, out: Path, *more: str) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train", str(corpus), "--out", str(out), "--device", "cpu", "--precision", "fp32", *settings, *more]


def _resume(out: Path, *more: str) -> int:
    return main(["train", "--resume", "--out", str(out), "--device", "cpu", *more])


def _result(out: Path) -> tuple[str, list[dict[str, Any]]]:
    """What must be equal after any interruption: the weights' hash, the metrics without times."""
    return sha256_file(out / "model.safetensors"), metrics_of(out)


def _files(directory: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (sha256_file(path), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_corpus(tmp_path_factory.mktemp("text") / "toy", n_train=24)


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(_arguments(corpus, out)) == 0
    return out


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without a corpus of its own."""
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_stopped_by_max_steps_and_resumed(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(_arguments(corpus, out, "--max-steps", "5")) == 0
    assert (out / "model.safetensors").exists()
    assert load_checkpoint(out / "checkpoints").state["progress"]["step"] == 5
    assert f"train --resume --out {out}" in capsys.readouterr().err
    assert _result(out) != _result(finished)
    assert _resume(out, "--max-steps", "14") == 0
    assert _resume(out) == 0
    assert "from update 14 on" in capsys.readouterr().err
    assert _result(out) == _result(finished)


# However late a busy machine lets it be stopped, such a training has not ended before.
ENDLESS = ("--set", "training.n_epochs=100000")


@contextmanager
def _started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has begun to train, and does not outlive the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lebm_text.brief", *arguments, "--json"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if not any(json.loads(line)["event"] == "start" for line in process.stdout):
                raise AssertionError(process.communicate()[1])
            yield process
        finally:
            process.kill()


def _steps(out: Path) -> int:
    """Updates done at the last checkpoint."""
    checkpoint = last_checkpoint(Run(out))
    return 0 if checkpoint is None else int(checkpoint.state["progress"]["step"])


def _assert_goes_on_as_unbroken(out: Path, corpus: Path, *more: str) -> None:
    """Resumed, it has some updates later what a run has that nothing interrupted until then."""
    enough = ("--max-steps", str(_steps(out) + 11))
    assert _resume(out, *enough) == 0
    unbroken = out.with_name("unbroken")
    assert main(_arguments(corpus, unbroken, *ENDLESS, *more, *enough)) == 0
    assert _result(out) == _result(unbroken)


@pytest.mark.slow
def test_kill_9_at_random_moments_and_resumed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = _arguments(corpus, out, *ENDLESS)
    for _ in range(2):
        with _started(command) as process:
            time.sleep(random.SystemRandom().uniform(0.0, 0.15))
            process.kill()
            assert process.wait(timeout=60) == -signal.SIGKILL
        command = ["train", "--resume", "--out", str(out), "--device", "cpu"]
    _assert_goes_on_as_unbroken(out, corpus)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["last", "previous"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_write_a_checkpoint(number: signal.Signals, corpus: Path, tmp_path: Path) -> None:
    out, seldom = tmp_path / "run", ("--set", "training.checkpoint_every=100000")
    with _started(_arguments(corpus, out, *ENDLESS, *seldom)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "report":
                break
        process.send_signal(number)
        events, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in complaints
    assert json.loads(events.splitlines()[-1])["reason"] == "stopped"
    assert _steps(out) >= 3
    assert (out / "model.safetensors").exists()
    _assert_goes_on_as_unbroken(out, corpus, *seldom)


def test_a_run_without_a_usable_checkpoint_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(_arguments(corpus, out, "--max-steps", "1")) == 0
    for path in (out / "checkpoints").iterdir():
        os.truncate(path / "tensors.safetensors", 300)
    capsys.readouterr()
    assert _resume(out) == 2
    assert "no usable checkpoint" in one_line(capsys)


def test_a_run_is_not_overwritten_unless_told_to(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(_arguments(corpus, out, "--max-steps", "1", "--seed", "8")) == 0
    (out / "notes.txt").write_text("mine")
    before = _files(out)
    capsys.readouterr()
    assert main(_arguments(corpus, out)) == 2
    message = one_line(capsys)
    assert "resume" in message
    assert "overwrite" in message
    assert _files(out) == before
    assert main(_arguments(corpus, out, "--max-steps", "1", "--overwrite")) == 0
    assert json.loads((out / "config.json").read_text())["training"]["seed"] == 1
    assert (out / "notes.txt").read_text() == "mine"


def test_a_run_is_not_both_continued_and_replaced(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _resume(finished, "--overwrite") == 2
    assert "--resume continues a run, --overwrite replaces it" in one_line(capsys)


@pytest.mark.parametrize("fault", ["no corpus", "half a corpus", "no device", "long sentences"])
def test_overwrite_keeps_the_old_run_if_the_new_one_cannot_begin(
    fault: str, corpus: Path, tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert main(_arguments(corpus, out, "--max-steps", "1")) == 0
    before = _files(out)
    where, more = corpus, ["--overwrite"]
    if fault == "no corpus":
        where = tmp_path / "nowhere"
    elif fault == "half a corpus":
        where = tmp_path / "half"
        where.mkdir()
        (where / "train.txt").write_text("a\n")
    elif fault == "no device":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        more += ["--device", "cuda"]
    else:
        where = write_text_corpus(tmp_path / "long", n_train=3)
        (where / "train.txt").write_text("a " * 50 + "\n")
    assert main(_arguments(where, out, *more)) == 2
    assert _files(out) == before


def test_short_options_and_default_directory(corpus: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = _arguments(corpus, here, "--max-steps", "1", "--seed", "5")
    place = arguments.index("--out")
    del arguments[place : place + 2]
    assert main(arguments) == 0
    stored = json.loads((here / "runs" / "toy" / "config.json").read_text())
    assert stored["training"]["seed"] == 5
    assert stored["training"]["precision"] == "fp32"
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("LEBM_TEXT_RUNS", "~/kept")
    assert main(arguments) == 0
    assert (here / "kept" / "toy" / "config.json").exists()


def test_json_lines(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(corpus, tmp_path / "run", "--json", "--max-steps", "3")) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    assert list(dict.fromkeys(e["event"] for e in events if e["event"] not in ("warning", "validation"))) == [
        "start",
        "report",
        "checkpoint",
        "end",
    ]
    assert events[-1]["reason"] == "max_steps"


def test_resume_takes_back_what_the_run_was_begun_with_and_nothing_else(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(_arguments(corpus, out, "--max-steps", "1")) == 0
    before = _files(out)
    capsys.readouterr()
    for more in (["--seed", "9"], ["--precision", "bf16"], ["--set", "model.latent_dim=4"], ["--preset", "paper"]):
        assert _resume(out, *more) == 2
        assert "keeps its configuration" in one_line(capsys)
    assert main(["train", "ptb", "--resume", "--out", str(out)]) == 2
    assert "not on ptb" in one_line(capsys)
    assert _files(out) == before
    assert main(_arguments(corpus, out, "--resume", "--max-steps", "2")) == 0


@pytest.mark.parametrize("file", ["", "config.json"])
def test_another_runs_settings_start_a_new_one(
    file: str, corpus: Path, finished: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--set", "training.n_epochs=3", "--seed", "5", "--max-steps", "1", "--device", "cpu"]
    assert main(["train", str(corpus), "--preset", str(finished / file), *more]) == 0
    begun, other = Run("runs/toy").config, Run(finished).config
    # What RESOLVED_AT_START names is decided anew, for the machine at hand.
    assert begun.differences(other).keys() - RESOLVED_AT_START.keys() == {"training.n_epochs", "training.seed"}
    assert main(["train", "--resume", "--out", "runs/toy", "--preset", str(finished), "--device", "cpu"]) == 2
    assert "training.n_epochs is 3, not 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("runs/nowhere", "runs/nowhere is no run: it holds no config.json"),
        ("nowhere/config.json", "nowhere is no run"),
        (".", ". is no run"),
        ("lm.json", "lm.json is no run"),
        ("damaged", "unknown configuration section 'modle'"),
    ],
)
def test_a_path_that_is_no_run_has_no_settings_to_start_from(
    name: str, told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "lm.json").write_text("{}")
    (here / "damaged").mkdir()
    (here / "damaged" / "config.json").write_text('{"modle": {}}')
    assert main(["train", "kjv", "--preset", name]) == 2
    assert told in one_line(capsys)


WRONG = [  # of settings a few: `test_config` has all
    [],
    ["--max-steps", "0"],
    ["--max-minutes", "0"],
    ["--max-minutes", "nan"],
    ["--seed", "-1"],
    ["--seed", str(2**63)],
    ["--device", "abacus"],
    ["--precision", "fp16"],
    ["--preset", ""],
    ["--seed", "3", "--set", "training.seed=4"],
    ["--preset", "qiuck"],
    ["--set", "model.latent_dim"],
    ["--set", "model.latent_dim=-1"],
    ["--preset", "vae", "--set", "inference.n_steps=3"],
    ["--set", ""],
    ["--set"],
    ["--data-dir", "nowhere"],
    ["--resume"],
    ["--unknown"],
    ["stray"],
]


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_wrong_arguments_are_one_line_and_write_nothing(
    wrong: list[str], corpus: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", str(corpus), "--out", "run", *wrong] if wrong else ["train"]
    assert main(given) == 2
    one_line(capsys)
    assert list(here.iterdir()) == []


def test_a_run_to_be_continued_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume"]) == 2
    assert "--resume needs the run: give CORPUS or --out DIR" in one_line(capsys)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["nowhere.csv"], "there is no file or directory 'nowhere.csv'"),
        (["kjv", "--preset", "qiuck"], "did you mean quick?"),
        (["kjv", "--set", "modle.latent_dim=3"], "did you mean model?"),
    ],
)
def test_a_mistake_is_told_before_torch_is_imported(wrong: list[str], told: str, here: Path) -> None:
    code = "import sys\nsys.modules['torch'] = None\nfrom lebm_text.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", *wrong]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["nowhere", "", ".", "ptb/", "pbt"])
def test_a_corpus_that_is_none_is_one_line(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", name, "--out", "run"]) == 2
    one_line(capsys)
    assert list(here.iterdir()) == []


def test_unreadable_text_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "text").mkdir()
    for split in ("train", "valid", "test"):
        (here / "text" / f"{split}.txt").write_bytes(b"a\0b\n")
    assert main(["train", "text", "--out", "run"]) == 2
    assert "NUL" in one_line(capsys)
    assert not (here / "run").exists()


def test_divergence_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*_arguments: object, **_more: object) -> None:
        raise FloatingPointError("a norm of nan")

    monkeypatch.setattr("lebm_text.training.trainer.Trainer.update", diverged)
    assert main(_arguments(corpus, tmp_path / "run", "--json")) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "training diverged" in captured.err


def test_a_file_is_imported_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "runs"))
    rng = random.Random(5)
    lines = ["".join(f"{rng.choice(['the', 'a', 'cat', 'dog', 'sees'])} " for _ in range(5)) for _ in range(60)]
    Path("pets.csv").write_text("id,text\n" + "".join(f"{i},{line}\n" for i, line in enumerate(lines)))
    settings = [word for setting in (*SETTINGS, "training.n_epochs=1") for word in ("--set", setting)]
    assert main(["train", "pets.csv", "--device", "cpu", *settings]) == 0
    said = capsys.readouterr().err
    assert "pets.csv imported: " in said and "train, " in said
    assert (tmp_path / "runs" / "pets" / "model.safetensors").is_file()
    assert main(["train", "pets.csv", "--resume", "--device", "cpu"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["rppl", "--lm", "kn2", "-n", "20", "--device", "cpu", "--json"]) == 0
    assert "|test:pets-test|" in json.loads(capsys.readouterr().out)["results"][0]["signature"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "pets.csv", "runs"]
