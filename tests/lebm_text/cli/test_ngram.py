"""`lebm-text ngram train` and `score`, and one line for every mistake."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lebm_text.cli.main import main
from lebm_text.store import sha256_file
from lm_eval.kenlm import write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel

from ...lm_eval.grammar import grammar_sentences
from ...lm_eval.reference import TINY, parse_arpa, settings_of
from ...lm_eval.test_kneser_ney import largest_difference
from .test_main import one_line

# `a` has probability 0, unknown words 0.1.
EXCLUDES_A = """\\data\\
ngram 1=4
ngram 2=0

\\1-grams:
-99\t<s>\t0
-1\t<unk>
-0.3\t</s>
-inf\ta

\\2-grams:

\\end\\
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("".join(f"{line}\n" for line in grammar_sentences(300, 1)))
    return path


def test_train_and_score(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.arpa"
    assert main(["ngram", "train", str(text), "-o", str(model), "--order", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_sentences"] == 300
    assert report["sha256"] == {"text": sha256_file(text), "model": sha256_file(model)}
    assert main(["ngram", "score", str(model), str(text), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["order"] == 3
    assert scored["n_sentences"] == 300
    assert scored["n_tokens"] == sum(len(line.split()) + 1 for line in text.read_text().splitlines())
    assert main(["ngram", "score", str(model), str(text)]) == 0
    assert f"{scored['ppl']:.4f}" in capsys.readouterr().out
    assert main(["ngram", "score", str(model), str(text), "--per-sentence"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 300
    assert sum(float(line.split("\t")[0]) for line in lines) == pytest.approx(scored["nll"], abs=1e-3)


def test_each_figure_of_a_score_is_on_its_own_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = text.read_text().splitlines()[0]
    (tmp_path / "odd.txt").write_text(f"nonsense\n{known}\n")
    model, odd = str(tmp_path / "model.arpa"), str(tmp_path / "odd.txt")
    assert main(["ngram", "train", str(text), "-o", model, "--order", "3"]) == 0
    assert main(["ngram", "score", model, odd, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ppl_excluding_oov"] < found["ppl"]
    assert main(["ngram", "score", model, odd]) == 0
    n, (low, high) = 3 + len(known.split()), found["ci95"]
    assert capsys.readouterr().out.splitlines() == [
        f"perplexity       {found['ppl']:.4f}  (95 % over sentences: {low:.2f} to {high:.2f})",
        f"without unknown  {found['ppl_excluding_oov']:.4f}",
        f"tokens           {n} in 2 sentences, </s> counted",
        "unknown words    1",
    ]
    assert main(["ngram", "score", model, odd, "--per-sentence"]) == 0
    counts = [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()]
    assert counts == [["2", "1"], [str(n - 2), "0"]]


def test_options_reach_the_estimator(tmp_path: Path) -> None:
    for number, reference in enumerate(TINY):
        text, model = tmp_path / f"{number}.txt", tmp_path / f"{number}.arpa"
        text.write_text(reference["text"])
        settings = settings_of(reference)
        options = ["--prune", ",".join(map(str, settings.prune)), "--vocab-pad", str(settings.vocab_pad)]
        options += [] if settings.interpolate_unigrams else ["--no-interpolate-unigrams"]
        arguments = ["ngram", "train", str(text), "-o", str(model), "--order", str(reference["order"])]
        assert main([*arguments, *options]) == 0
        found, expected = parse_arpa(model.read_text()), parse_arpa(reference["arpa"])
        assert found.keys() == expected.keys()
        assert largest_difference(found, expected) <= 1e-6


def test_fallback_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("a\n")
    arguments = ["ngram", "train", str(tmp_path / "text"), "-o", str(tmp_path / "model"), "--order", "2"]
    assert main(arguments) == 0
    assert capsys.readouterr().err.count("are the fallback 0.5, 1, 1.5") == 2
    (tmp_path / "model").unlink()
    assert main([*arguments, "--no-fallback"]) == 2
    assert "discounts of the 1-grams" in one_line(capsys)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"fine\n\nnot </s> fine\n", "line 3"),
        (b"", "empty"),
    ],
)
def test_text_that_cannot_be_used(
    content: bytes, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    model = tmp_path / "model.arpa"
    assert main(["ngram", "train", str(text), "-o", str(model)]) == 2
    trained = one_line(capsys)
    assert not model.exists()
    write_arpa(NgramModel.train(["fine"], KneserNeySettings(order=2)), model)
    assert main(["ngram", "score", str(model), str(text)]) == 2
    for message in (trained, one_line(capsys)):
        assert part in message
        assert message.count(str(text)) == 1


def test_empty_lines_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("\na b\n\n\n")
    model = str(tmp_path / "model.arpa")
    assert main(["ngram", "train", str(tmp_path / "text"), "-o", model, "--order", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_sentences"] == 4
    assert ("<s>", "</s>") in parse_arpa(Path(model).read_text())
    assert main(["ngram", "score", model, str(tmp_path / "text"), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert (scored["n_sentences"], scored["n_tokens"]) == (4, 6)


def test_infinite_figures_are_valid_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.arpa").write_text(EXCLUDES_A)
    (tmp_path / "text").write_text("a b\nb\n")
    assert main(["ngram", "score", str(tmp_path / "model.arpa"), str(tmp_path / "text"), "--json"]) == 0

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    scored = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert scored["infinite"] is True
    assert scored["ppl"] is scored["nll"] is scored["ci95"][1] is None
    assert scored["n_tokens"] == 5
    (tmp_path / "text").write_text("b\n")
    assert main(["ngram", "score", str(tmp_path / "model.arpa"), str(tmp_path / "text"), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["infinite"] is False
    assert scored["ppl"] == pytest.approx(10**0.65)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--order", "1"],
        ["--order", "7"],
        ["--prune", "1,0"],
        ["--prune", "some"],
        ["--prune", "-1"],
        ["--vocab-pad", "-5"],
        ["--vocab-pad", "9", "--no-interpolate-unigrams"],
        ["--ngram-backend", "other"],
        ["-o", "absent/model.arpa"],
        ["-o", "."],
        ["-o", "model.json"],
    ],
)
def test_wrong_options_are_one_line(
    arguments: list[str], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ngram", "train", str(text), "-o", str(tmp_path / "model.arpa"), *arguments]) == 2
    one_line(capsys)


def test_lmplz_is_used_only_if_it_is_there(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["ngram", "train", str(text), "-o", str(tmp_path / "model.arpa"), "--ngram-backend", "lmplz"]
    assert main(arguments) == 2
    assert "lmplz is not on PATH" in one_line(capsys)


def test_text_beyond_memory_is_refused_before_it_is_read(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lm_eval.kenlm.machine_bytes", lambda: 1000)
    monkeypatch.setattr("lebm_text.cli.ngram.read_text", lambda _path: pytest.fail("was read"))
    assert main(["ngram", "train", str(text), "-o", str(tmp_path / "model.arpa")]) == 2
    assert "n-gram backend lmplz" in one_line(capsys)


def test_file_that_is_no_model(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ngram", "score", str(text), str(text)]) == 2
    assert "cannot load" in one_line(capsys)


def test_two_kinds_of_output_are_one_too_many(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ngram", "score", str(text), str(text), "--json", "--per-sentence"]) == 2
    one_line(capsys)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_the_model_goes_into_a_pipe_a_link_and_a_device(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["ngram", "train", str(text), "--order", "2", "-o"]
    assert main([*train, str(tmp_path / "plain")]) == 0
    plain = (tmp_path / "plain").read_bytes()
    os.mkfifo(tmp_path / "fifo")
    with ThreadPoolExecutor(1) as threads:
        got = threads.submit((tmp_path / "fifo").read_bytes)
        capsys.readouterr()
        assert main([*train, str(tmp_path / "fifo"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sha256"]["model"] is None  # there is no file to compare with
        assert got.result() == plain
    (tmp_path / "link").symlink_to("file")
    assert main([*train, str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == plain
    assert main([*train, os.devnull]) == 0
    assert not Path(os.devnull).is_file()
    assert main([*train, str(tmp_path / "model.gz")]) == 0
    assert gzip.decompress((tmp_path / "model.gz").read_bytes()) == plain


def test_what_is_read_may_come_through_a_pipe(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard input was read twice: of more than a mebibyte the first was lost."""
    data = text.read_bytes() * 400
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    model = tmp_path / os.fsdecode(b"caf\xe9.arpa")
    assert main(["ngram", "train", "-", "-o", str(model), "--order", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_sentences"] == 120_000
    assert report["sha256"] == {"text": hashlib.sha256(data).hexdigest(), "model": sha256_file(model)}
    (tmp_path / "packed").write_bytes(gzip.compress(model.read_bytes()))
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        stream.write(text.read_bytes())
    assert main(["ngram", "score", str(tmp_path / "packed"), f"/dev/fd/{read}", "--json"]) == 0
    os.close(read)
    scored = json.loads(capsys.readouterr().out)
    assert scored["sha256"] == {"text": sha256_file(text), "model": sha256_file(model)}


def test_a_dash_is_standard_input_and_a_file_of_that_name_is_not(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))
    text.rename("-")
    for name, n in (("./-", 300), ("-", 1)):
        assert main(["ngram", "train", name, "-o", "model.arpa", "--order", "2", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n_sentences"] == n
