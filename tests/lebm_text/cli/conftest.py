"""A corpus of the toy grammar, and a run on it: what is judged in the tests of `fppl`, `rppl` and `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.text.corpora import find_corpus
from lm_eval.judges import RECIPES, LSTMRecipe

from ...lm_eval.grammar import grammar_sentences
from ..tiny import tiny_model

Report = Callable[..., dict[str, Any]]


def write_grammar(directory: Path, *, train: int = 400, valid: int = 60, test: int = 80) -> Path:
    """Make a corpus of so many sentences of the toy grammar."""
    directory.mkdir()
    for seed, (name, n) in enumerate({"train": train, "valid": valid, "test": test}.items()):
        (directory / f"{name}.txt").write_text("".join(f"{line}\n" for line in grammar_sentences(n, seed)))
    return directory


@pytest.fixture
def grammar_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus directory; a working directory without runs, a cache without judges, an LSTM that learns in a second."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    brief = LSTMRecipe("lstm-brief", 8, 8, shortlist=None, max_epochs=2, batch_tokens=2048, min_updates=1)
    monkeypatch.setitem(RECIPES, "default", brief)
    return write_grammar(tmp_path / "grammar")


@pytest.fixture
def grammar_run(grammar_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest run: an untrained model, with the record of having been trained on the corpus."""
    directory = tmp_path / "runs" / "tiny"
    tiny_model().save_pretrained(directory)
    (directory / "env.json").write_text(json.dumps({"corpus": find_corpus(str(grammar_corpus)).describe()}))
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "runs"))
    return directory


@pytest.fixture
def report_of(capsys: pytest.CaptureFixture[str]) -> Report:
    """Calls a command with --json and gives the object that it prints."""

    def call(*arguments: str) -> dict[str, Any]:
        code = main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        report: dict[str, Any] = json.loads(captured.out)
        return report

    return call
