"""`lebm-text generate`: n lines, a sidecar that tells how, the newest run, and one line for every mistake."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.generation.generate import Generation
from lebm_text.model import LatentEBM
from lebm_text.store import sha256_file

from ..tiny import tiny_model
from .test_main import one_line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a tiny model, and a working directory without runs."""
    tiny_model().save_pretrained(tmp_path / "elsewhere" / "tiny")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "elsewhere" / "tiny"


def _out(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    code = main(["generate", "--device", "cpu", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out, captured.err


def test_prints_exactly_n_sentences(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _out(capsys, "-n", "40", "--run", str(run))
    assert out.split("\n")[:-1] == tiny_model().generate(40).sentences
    assert "" in out.split("\n")[:-1]  # an empty sentence is an empty line
    assert out.endswith("\n")
    assert err.count("\n") == 1
    assert all(word in err for word in ("40 sentences", str(run), "empty", "truncated", "<unk>", "duplicates"))


def test_no_sentences_are_no_lines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _out(capsys, "-n", "0", "--run", str(run))[0] == ""


def test_file_and_sidecar(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.txt"
    out, err = _out(capsys, "-n", "25", "--run", str(run), "-o", str(file), "--seed", "9", "--max-length", "3")
    assert out == ""
    assert str(file) in err
    data = file.read_bytes()
    expected = tiny_model().generate(25, seed=9, max_length=3)
    assert data.decode().split("\n") == [*expected.sentences, ""]
    sidecar = json.loads((tmp_path / "out.txt.json").read_text())
    assert sidecar["signature"] == expected.signature
    assert "n=25,decode=sample,T=1,max_length=3)" in sidecar["signature"]
    assert sidecar["seed"] == sidecar["settings"]["seed"] == 9
    assert sidecar["settings"]["max_length"] == 3
    assert sidecar["rates"] == expected.rates
    assert sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    assert sidecar["weights_sha256"] == sha256_file(run / "model.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "elsewhere",
        "here",
        "out.txt",
        "out.txt.json",
    ]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--temperature", "0.5"], {"temperature": 0.5}),
        (["--top-k", "2"], {"top_k": 2}),
        (["--top-p", "0.5"], {"top_p": 0.5}),
        (["--decode", "greedy"], {"decode": "greedy"}),
        (["--decode", "beam"], {"decode": "beam"}),
        (["--no-unk"], {"no_unk": True}),
        (["--prior-temperature", "0.25"], {"prior_temperature": 0.25}),
        (["--seed", "2"], {"seed": 2}),
    ],
)
def test_each_option_reaches_the_decoder(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], options: dict[str, Any]
) -> None:
    out, _ = _out(capsys, "-n", "30", "--run", str(run), *arguments)
    model = tiny_model()
    assert out.split("\n")[:-1] == model.generate(30, **options).sentences != model.generate(30).sentences


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_gets_the_sentences_and_no_record(run: Path, tmp_path: Path) -> None:
    pipe, plain = tmp_path / "pipe", tmp_path / "plain.txt"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_bytes)
        for place in (pipe, plain, Path(os.devnull)):
            assert main(["generate", "-n", "3", "--run", str(run), "--device", "cpu", "-o", str(place)]) == 0
        assert read.result(timeout=60) == plain.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} >= {"pipe", "plain.txt", "plain.txt.json"}
    assert pipe.is_fifo() and Path(os.devnull).is_char_device()
    assert not (tmp_path / "pipe.json").exists() and not Path(f"{os.devnull}.json").exists()


def test_json_is_all_there_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = _out(capsys, "-n", "3", "--run", str(run), "--json")
    printed = json.loads(out)
    assert err == ""
    assert printed["sentences"] == tiny_model().generate(3).sentences
    file = tmp_path / "out.txt"
    out, err = _out(capsys, "-n", "3", "--run", str(run), "--json", "-o", str(file))
    assert json.loads(out) == json.loads((tmp_path / "out.txt.json").read_text())
    assert err == ""


def _copy(run: Path, to: Path, *, age: float, weights: bool = True) -> None:
    shutil.copytree(run, to)
    if not weights:
        (to / "model.safetensors").unlink()
    for path in to.iterdir():
        os.utime(path, (1e9 - age, 1e9 - age))


def test_newest_run_with_weights_is_the_default(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "here" / "runs"
    _copy(run, runs / "z-old", age=100)
    _copy(run, runs / "b-new", age=10)
    _copy(run, runs / "a-older", age=1000)
    _copy(run, runs / "training", age=0, weights=False)
    (runs / "notes").mkdir()
    assert "runs/b-new" in _out(capsys)[1]
    _copy(run, tmp_path / "kept" / "only", age=5000)
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "kept"))
    assert "kept/only" in _out(capsys)[1]


def test_without_any_run_one_line_says_what_to_do(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconstruct"]) == 2
    assert "lebm-text train" in one_line(capsys)


def test_unfinished_runs_are_not_used(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _copy(run, tmp_path / "here" / "runs" / "training", age=0, weights=False)
    assert main(["generate"]) == 2
    assert "--resume --out runs/training" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "-1"],
        ["--temperature", "nan"],
        ["--seed", str(2**63)],
        ["--max-length", "0"],
        ["--decode", "best"],
        ["--decode", "greedy", "--temperature", "0.5"],
        ["--decode", "beam", "--top-p", "0.5"],
        ["--device", "abacus"],
        ["--run", "nowhere"],
        ["--run", "."],
        ["-o", "."],
        ["-o", "nowhere/out.txt"],
        ["-o", "out.csv"],
        ["-o", "out.jsonl.gz"],
        ["--beam-size", "4"],
        ["extra"],
        ["--unknown"],
    ],
)
def test_wrong_arguments_are_one_line(run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["generate", "--run", str(run), *arguments]) == 2
    one_line(capsys)
    assert list(Path().iterdir()) == []


def test_damaged_weights_are_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(run / "model.safetensors", 60)
    assert main(["generate", "--run", str(run)]) == 2
    assert "model.safetensors" in one_line(capsys)


@pytest.mark.parametrize("output", [None, "out.txt"])
def test_an_interruption_says_what_is_kept_and_leaves_no_part(
    output: str | None, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lebm_text.generation.generate.LATENTS", 4)
    plain, calls = LatentEBM.stream, []

    def interrupted(self: LatentEBM, n: int, **options: Any) -> Generation:
        def show(done: int) -> None:
            calls.append(done)
            if done >= 600:
                raise KeyboardInterrupt

        return plain(self, n, **(options | {"on_progress": show}))

    monkeypatch.setattr(LatentEBM, "stream", interrupted)
    arguments = ["generate", "-n", "10000", "--run", str(run), "--device", "cpu"]
    assert main([*arguments, *(["-o", output] if output else [])]) == 130
    captured = capsys.readouterr()
    assert calls == [256, 512, 768]
    assert captured.err.count("\n") == 1
    assert "768 of 10,000 sentences" in captured.err
    assert captured.out.count("\n") == (0 if output else 768)
    assert ("none of which is kept" if output else "printed") in captured.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "options", "without"),
    [
        (["--guidance", "3"], {"guidance": 3.0}, {}),
        (["--decode", "beam", "--beam-size", "1"], {"decode": "beam", "beam_size": 1}, {"decode": "beam"}),
    ],
)
def test_guidance_and_the_size_of_a_beam_reach_the_decoder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    options: dict[str, Any],
    without: dict[str, Any],
) -> None:
    model = tiny_model(z_dropout=0.2)
    model.save_pretrained(tmp_path / "guided")
    out, _ = _out(capsys, "-n", "30", "--run", str(tmp_path / "guided"), *arguments)
    assert out.split("\n")[:-1] == model.generate(30, **options).sentences != model.generate(30, **without).sentences


def test_a_label_is_that_of_a_class(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(labels=["bad", "good"]).save_pretrained(tmp_path / "classes")
    out, _ = _out(capsys, "-n", "20", "--run", str(tmp_path / "classes"), "--label", "good")
    assert out.split("\n")[:-1] == tiny_model(labels=["bad", "good"]).generate(20, label="good").sentences
    assert out != _out(capsys, "-n", "20", "--run", str(tmp_path / "classes"), "--label", "bad")[0]
    for arguments, said in (
        (tmp_path / "classes", "its labels are: 'bad', 'good'"),
        (run, "this model has no classes"),
    ):
        assert main(["generate", "--device", "cpu", "--run", str(arguments), "--label", "worse"]) == 2
        assert said in one_line(capsys)
