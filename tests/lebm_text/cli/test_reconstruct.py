"""`lebm-text reconstruct`: every line of input comes back next to its reconstruction."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import INTERRUPTED, main
from lebm_text.model import LatentEBM

from ..tiny import tiny_model
from .test_main import one_line

TEXT = "the cat sees a dog\n\n  a   dog \nan unknown é\r\na"
LINES = ["the cat sees a dog", "", "a dog", "an unknown é", "a"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_model().save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tiny"


def _read_from(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def _call(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["reconstruct", "--device", "cpu", "--run", str(run), *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("how", ["stdin", "dash", "file"])
def test_each_line_stands_next_to_its_reconstruction(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    Path("in.txt").write_bytes(TEXT.encode())
    _read_from(monkeypatch, b"" if how == "file" else TEXT.encode())
    out = _call(run, capsys, *{"stdin": [], "dash": ["-"], "file": ["in.txt"]}[how])
    expected = tiny_model().reconstruct(LINES)
    assert out == "".join(f"{a}\t{b}\n" for a, b in zip(LINES, expected, strict=True))


def test_a_language_model_has_nothing_to_reconstruct_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(latent_dim=0).save_pretrained(tmp_path / "lm")
    (tmp_path / "in.txt").write_text("the cat\n")
    assert main(["reconstruct", "--device", "cpu", "--run", str(tmp_path / "lm"), str(tmp_path / "in.txt")]) == 2
    assert "language model" in one_line(capsys)


def test_json_lines(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _read_from(monkeypatch, TEXT.encode())
    records = [json.loads(line) for line in _call(run, capsys, "--json").splitlines()]
    expected = tiny_model().reconstruct(LINES)
    assert records == [{"input": a, "reconstruction": b} for a, b in zip(LINES, expected, strict=True)]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--decode", "sample"], {"decode": "sample"}),
        (["--decode", "sample", "--temperature", "2"], {"decode": "sample", "temperature": 2.0}),
        (["--seed", "5"], {"seed": 5}),
        (["--max-length", "1"], {"max_length": 1}),
    ],
)
def test_options_reach_the_model(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    options: dict[str, Any],
) -> None:
    lines = ["the cat sees a dog"] * 20
    _read_from(monkeypatch, "\n".join(lines).encode())
    found = [line.split("\t")[1] for line in _call(run, capsys, *arguments).splitlines()]
    assert found == tiny_model().reconstruct(lines, **options) != tiny_model().reconstruct(lines)


def test_no_input_is_no_output(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _read_from(monkeypatch, b"")
    assert _call(run, capsys) == ""


def test_a_line_that_is_too_long_has_no_reconstruction_and_changes_no_other(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["the cat sees a dog", "a " * 8 + "a", "a dog", "the cat"] * 10
    expected = tiny_model().reconstruct(["" if len(line) > 16 and line[0] == "a" else line for line in lines])
    Path("in.txt").write_text("".join(f"{line}\n" for line in lines))
    assert main(["reconstruct", "--run", str(run), "in.txt", "--json"]) == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [each["input"] for each in records] == lines
    found = [each["reconstruction"] for each in records]
    assert found == [None if i % 4 == 1 else sentence for i, sentence in enumerate(expected)]
    assert "10 of 40 sentences have no reconstruction: more than 8 tokens" in captured.err
    assert "\n" + lines[1] + "\t\n" in _call(run, capsys, "in.txt")


def test_lines_are_printed_as_they_come(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt, or a reader that goes away, loses nothing that is done, and costs nothing more."""
    Path("in.txt").write_text("a dog\n" * 1000)
    reconstruct, n_read = LatentEBM.reconstruct, [0]

    def interrupted(model: LatentEBM, sentences: list[str], *arguments: Any, **options: Any) -> list[str]:
        if n_read[0] > 100:
            raise KeyboardInterrupt
        n_read[0] += len(sentences)
        return reconstruct(model, sentences, *arguments, **options)

    monkeypatch.setattr(LatentEBM, "reconstruct", interrupted)
    assert main(["reconstruct", "--run", str(run), "in.txt"]) == INTERRUPTED
    assert 100 < len(capsys.readouterr().out.splitlines()) == n_read[0] < 1000


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_words_that_the_model_does_not_know_are_named(
    run: Path, capsys: pytest.CaptureFixture[str], how: list[str]
) -> None:
    Path("in.txt").write_text("The cat sees <unk> zzz\nthe cat\nzzz Dog\n")
    assert main(["reconstruct", "--run", str(run), "in.txt", *how]) == 0
    err = capsys.readouterr().err
    assert err.endswith("warning: not in the vocabulary, read as <unk>: The, zzz, Dog; in lower case known: the, dog\n")


def test_bad_text_is_one_line(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _read_from(monkeypatch, b"a\n\xff\n")
    assert main(["reconstruct", "--run", str(run)]) == 2
    assert "standard input, line 2" in one_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.txt"],
        ["."],
        ["--temperature", "0.5"],
        ["--decode", "sample", "--temperature", "0"],
        ["--run", "nowhere"],
        ["--max-length", "0"],
        ["--top-p", "2"],
    ],
)
def test_wrong_arguments_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    _read_from(monkeypatch, b"a\n")
    assert main(["reconstruct", "--run", str(run), *arguments]) == 2
    one_line(capsys)
