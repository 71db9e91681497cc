"""`lebm-text score`: every line of input gets a line of output, in order, whatever is known of it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text.cli.main import main
from lebm_text.likelihood.estimates import Estimate, LogZ
from lebm_text.reports import scores
from lebm_text.text.reading import read_records

from ..tiny import tiny_model
from .test_main import one_line

LINES = ["the cat sees a dog", "", "a dog", "an unknown é", "a " * 8 + "a", "the cat sees a dog"]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_model().save_pretrained(tmp_path / "runs" / "tiny")
    (tmp_path / "text").write_bytes(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "tiny"


def read_from(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_of_json_in_order(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    read_from(monkeypatch, TEXT)
    assert main(["score"]) == 0
    captured = capsys.readouterr()
    found = records(captured.out)
    assert [record["sentence"] for record in found] == LINES
    assert [record["line"] for record in found] == [1, 2, 3, 4, 5, 6]
    assert [record["n_tokens"] for record in found] == [6, 1, 3, 4, None, 6]
    assert found[4]["score"] is found[4]["score_per_token"] is found[0]["elbo"] is found[0]["log_z"] is None
    for record in found[:4]:
        assert record["score"] == pytest.approx(-record["log_likelihood"] - record["log_prior"])
        assert record["score_per_token"] == pytest.approx(record["score"] / record["n_tokens"])
    assert "log Z of the prior is left out" in captured.err
    assert "1 of 6 sentences have no score: more than 8 tokens" in captured.err
    assert captured.err.count("not in the vocabulary, read as <unk>: an, unknown\n") == 1


def test_files_and_pieces_do_not_change_what_is_scored(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "text", "-o", "scores"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    whole = records(Path("scores").read_text())
    monkeypatch.setattr(scores, "CHUNK", 2)
    assert main(["score", "text"]) == 0
    pieces = records(capsys.readouterr().out)
    for one, other in zip(whole, pieces, strict=True):
        assert one.keys() == other.keys()
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_json_of_invisible_characters_is_read_back(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A soft hyphen was printed as \\xad, which JSON has not."""
    hidden = ["the c\u00adat", "a \U000e0041 dog", "\u200bé"]
    Path("text").write_text("".join(f"{line}\n" for line in hidden), encoding="utf-8")
    assert main(["score", "text"]) == 0
    assert [record["sentence"] for record in records(capsys.readouterr().out)] == hidden


def test_tab_separated_values(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scores, "CHUNK", 4)
    assert main(["score", "text", "--format", "tsv"]) == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert (head[:2], head[-1]) == (["line", "score"], "sentence")
    assert {len(row) for row in rows} == {len(head)}
    assert [row[-1] for row in rows] == LINES
    assert rows[4][1] == ""
    assert float(rows[0][1]) > 0


def test_tab_separated_values_are_read_back(run: Path) -> None:
    quoted = ['" the cat', 'a " dog "', "the dog"]
    Path("text").write_text("".join(f"{line}\n" for line in quoted))
    assert main(["score", "text", "--format", "tsv", "-o", "scores.tsv"]) == 0
    assert list(read_records(Path("scores.tsv"), "sentence")) == quoted


def test_options_reach_the_chain(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def first(*options: str) -> float:
        assert main(["score", "text", *options]) == 0
        return float(records(capsys.readouterr().out)[0]["score"])

    base = first()
    others = [first(*options) for options in (["--draws", "2"], ["--steps", "5"], ["--seed", "2"])]
    assert len({round(value, 3) for value in (base, *others)}) == 4
    assert first("--as-trained") == base  # trained with noise and weight 1
    assert first("--precision", "bf16") != base


def test_bound_and_log_z(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(prior="gaussian").save_pretrained(run)
    assert main(["score", "text", "--bound", "--ais-steps", "10", "--ais-chains", "2"]) == 0
    captured = capsys.readouterr()
    found = records(captured.out)[0]
    assert found["log_z"] == 0.0
    assert found["log_p_lower"] < 0 < found["log_p_lower_error"]
    assert "log Z" not in captured.err
    for other in (["--ais-steps", "11", "--ais-chains", "2"], ["--ais-steps", "10", "--ais-chains", "3"]):
        assert main(["score", "text", "--bound", *other]) == 0
        assert records(capsys.readouterr().out)[0]["log_p_lower"] != found["log_p_lower"]


def test_log_z_that_is_not_known_is_left_out_and_refused_for_a_bound(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = LogZ(Estimate(0.0, 0.0), Estimate(0.5, 0.0), None, 0.0, "", 1.0)
    monkeypatch.setattr(scores, "partition_of", lambda *_, **__: (apart, torch.empty(0, 4)))
    assert main(["score", "text", "--log-z"]) == 0
    captured = capsys.readouterr()
    assert records(captured.out)[0]["log_z"] is None
    assert "estimates of log Z differ by 0.500 nat, more than 0.02: it is left out" in captured.err
    assert main(["score", "text", "--bound"]) == 2
    assert "there is no bound" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nowhere"], "nowhere"),
        (["--draws", "0"], "--draws"),
        (["--format", "csv"], "--format"),
        (["-o", "no/where"], "does not exist"),
        (["-o", "out.tsv"], "scores are JSON lines, or TSV by --format tsv, and out.tsv ends in .tsv: call it .jsonl"),
        (["-o", "out.jsonl.gz", "--format", "tsv"], "ends in .jsonl: call it .tsv"),
        (["--ais-steps", "9"], "--bound"),
        (["bad"], "line 2: holds a reserved word, '<s>'"),
    ],
)
def test_wrong_arguments_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("bad").write_text("a dog\n<s> a dog\n")
    assert main(["score", *([] if arguments == ["bad"] else ["text"]), *arguments]) == 2
    assert message in one_line(capsys)


def test_a_language_model_has_no_chain(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(latent_dim=0, prior="gaussian").save_pretrained(run)
    assert main(["score", "text"]) == 0
    found = records(capsys.readouterr().out)[0]
    assert found["score"] == -found["log_likelihood"]
    assert main(["score", "text", "--steps", "3"]) == 2
    assert "without a chain" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "text", "-o", "text"], "text is read and would be written: name another file"),
        (["score", "-o", "./text", "text"], "text is read and would be written: name another file"),
        (["generate", "-n", "1", "-o", "runs/tiny/model.safetensors"], "is a part of the run in runs/tiny"),
        (["score", "text", "-o", "-"], "'-' is no name of a file; standard output is /dev/stdout"),
    ],
)
def test_what_is_read_is_never_written_over(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (run / "model.safetensors").read_bytes()
    assert main(arguments) == 2
    assert message in one_line(capsys)
    assert (run.parents[1] / "text").read_bytes() == TEXT
    assert (run / "model.safetensors").read_bytes() == weights
