"""What a run's env.json says of its text: read back, or refused in one line, however it is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.sharing.push import _without_machine
from lebm_text.text.description import CorpusDescription

from ...damage import refused

DATA = Path(__file__).parents[2] / "data"
ENVIRONMENT = json.loads((DATA / "run-0.1.0" / "env.json").read_text())
CORPUS = ENVIRONMENT["corpus"]


def test_what_is_read_is_what_was_written() -> None:
    for more in ({}, {"source": "hf:a/b"}, {"made_by": {"class": "a:B", "version": None}}):
        assert CorpusDescription.read(CORPUS | more).to_json() == CORPUS | more


@pytest.mark.parametrize(
    ("corpus", "wrong"),
    [
        (None, "corpus must be an object, got None"),
        ({}, "corpus.name is missing"),
        ({"name": "kjv"}, "corpus.origin is missing"),
        ({"name": "kjv", "origin": "cache"}, "corpus.splits is missing"),
        (CORPUS | {"splits": {}}, "corpus.splits must be train, valid, test, got none"),
        (
            CORPUS | {"splits": CORPUS["splits"] | {"test": {"path": 5}}},
            "corpus.splits.test.path must be a text, got 5",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, corpus: Any, wrong: str) -> None:
    (tmp_path / "env.json").write_text(json.dumps({"corpus": corpus}))
    with pytest.raises(InputError) as error:
        Run(tmp_path).corpus()
    problem = f"is damaged: it does not say what text the run was trained on ({wrong})"
    assert str(error.value) == f"{tmp_path / 'env.json'} {problem}"


@pytest.mark.parametrize("ask", [Run.corpus, lambda run: run.environment, lambda run: run.weights_sha256])
def test_a_directory_that_is_not_there_is_said(ask: Callable[[Run], object]) -> None:
    with pytest.raises(InputError, match=r"^there is no directory kjv-demo; names such as kjv-demo are for Run.find$"):
        ask(Run("kjv-demo"))


def test_no_damage_is_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    shutil.copy(DATA / "run-0.1.0" / "config.json", tmp_path)

    def read() -> None:
        run = Run(tmp_path, data_dir=DATA)
        json.dumps(_without_machine(run))
        assert run.corpus().name == run.corpus_name

    assert refused(tmp_path / "env.json", {"corpus": CORPUS}, read) > 100
