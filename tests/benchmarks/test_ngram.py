"""The n-gram benchmark: what it finds in two files, what it says of a program, and that it runs through."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from benchmarks import child, ngram
from lm_eval.kenlm import write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel

from ..lebm_text.toy import write_text_corpus


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_arpa(NgramModel.train(["a b c", "c b a", "a a"], KneserNeySettings(order=3)), tmp_path / "model.arpa")
    return tmp_path / "model.arpa"


def changed(model: Path, old: str, new: str) -> Path:
    text = model.read_text()
    assert text.count(old) == 1
    other = model.with_name("other.arpa")
    other.write_text(text.replace(old, new))
    return other


def test_a_file_does_not_differ_from_itself(model: Path) -> None:
    n_lines = sum("\t" in line for line in model.read_text().splitlines())
    assert ngram.compare(model, model) == (0.0, n_lines)


@pytest.mark.parametrize("column", [0, 2])
def test_the_largest_difference_is_found_wherever_it_is(model: Path, column: int) -> None:
    line = next(line for line in model.read_text().splitlines() if "\t<s> a\t" in line)
    cells = line.split("\t")
    cells[column] = str(float(cells[column]) - 0.25)
    other = changed(model, line, "\t".join(cells))
    assert ngram.compare(model, other)[0] == pytest.approx(0.25)
    assert ngram.compare(other, model)[0] == pytest.approx(0.25)


def test_other_ngrams_are_no_small_difference(model: Path) -> None:
    other = changed(model, "\tb c </s>\n", "\tb c d\n")
    assert ngram.compare(model, other)[0] == math.inf


def test_a_program_s_memory_is_its_own() -> None:
    """Not that of the process that asks, which holds more here."""
    here = bytearray(b"x") * 500_000_000
    program = (sys.executable, "-c", "held = bytearray(b'x') * 200_000_000; print(len(held))")
    finished = child.run((sys.executable, "-c", "print('first')"), program)
    assert finished.output == "200000000\n"
    assert 190 < finished.memory < 300
    assert here[-1]


def test_a_program_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3.*why"):
        child.run((sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(3)"))


def test_it_runs_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With lmplz too where that is on PATH, and without."""
    corpus = write_text_corpus(tmp_path / "tiny")
    monkeypatch.setattr(ngram, "ORDERS", (3,))
    ngram.main(["--json", "--smoke", "--corpus", str(corpus), "--repetitions", "1"])
    report = json.loads(capsys.readouterr().out)
    (row,) = report["results"]
    assert row["order"] == 3
    assert row["ppl"] > 1
    assert row["arpa_seconds"] > 0 < row["ppl_seconds"]
    assert row["arpa_memory"] > 0 < row["ppl_memory"]
    if report["lmplz"]:
        assert row["difference"] < 1e-5
        assert row["lmplz_ppl"] == pytest.approx(row["ppl"], rel=1e-5)
        assert row["arpa_ratio"] == pytest.approx(row["lmplz_arpa_seconds"] / row["arpa_seconds"])
    else:
        assert "difference" not in row


def test_lmplz_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ngram, "run", lambda *_commands: child.Finished(80.0, "12.5\n"))
    corpus = write_text_corpus(tmp_path / "tiny")
    ngram.main(["--smoke", "--corpus", str(corpus), "--repetitions", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(ngram.COLUMNS)
    assert [line.split()[:2] for line in lines[1:3]] == [["3", "–"], ["5", "–"]]
