"""Judges on disk: of processes that want the same one, one trains it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lm_eval.lstm_cache import JudgeCache

from ..lebm_text.holding import held
from .test_lstm_training import logged, train

pytest.importorskip("fcntl")


def test_the_second_waits_and_finds_what_the_first_has_made(tmp_path: Path) -> None:
    first = train(cache=tmp_path)
    (finished,) = tmp_path.iterdir()
    aside = finished.rename(tmp_path / "aside")
    said: list[str] = []
    lock = finished.with_suffix(".lock")
    lock.touch()
    with held(lock) as other:

        def is_told(message: str) -> None:
            said.append(message)
            aside.rename(finished)  # the first has ended
            other.kill()

        second = train(cache=tmp_path, on_log=is_told)
    assert said == ["another process is training this judge; waiting for it"]
    assert second.report.cached
    assert second.report.seconds == first.report.seconds


def test_the_second_goes_on_where_the_first_died(tmp_path: Path) -> None:
    said: list[str] = []
    lock = tmp_path / "lstm-key.lock"
    lock.touch()
    with held(lock) as other:

        def is_told(message: str) -> None:
            said.append(message)
            other.kill()

        cache = JudgeCache(tmp_path, "key")
        with logged(is_told), cache.alone():
            assert cache.read(cache.finished) is None
    assert len(said) == 1


def test_nobody_waits_for_another_judge_or_without_a_directory(tmp_path: Path) -> None:
    said: list[str] = []
    lock = tmp_path / "lstm-key.lock"
    lock.touch()
    with held(lock):
        for directory, key in ((tmp_path, "other"), (None, "key")):
            with logged(said.append), JudgeCache(directory, key).alone():
                pass
    assert said == []
