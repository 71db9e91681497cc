"""Judges on disk: of processes that want the same one, one trains it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lm_eval.lstm_cache import JudgeCache

from .test_lstm_training import train

fcntl = pytest.importorskip("fcntl")

HOLD = """
import fcntl, sys
stream = open(sys.argv[1], "w")
fcntl.flock(stream, fcntl.LOCK_EX)
print("here", flush=True)
sys.stdin.read()
"""


@contextmanager
def _held(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process is at the training until it is killed."""
    arguments = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        yield other
        other.kill()


def test_the_second_waits_and_finds_what_the_first_has_made(tmp_path: Path) -> None:
    first = train(cache=tmp_path)
    (finished,) = tmp_path.iterdir()
    aside = finished.rename(tmp_path / "aside")
    said: list[str] = []
    with _held(finished.with_suffix(".lock")) as other:

        def is_told(message: str) -> None:
            said.append(message)
            aside.rename(finished)  # the first has ended
            other.kill()

        second = train(cache=tmp_path, on_progress=is_told)
    assert said == ["another process is training this judge; waiting for it"]
    assert second.report.cached
    assert second.report.seconds == first.report.seconds


def test_the_second_goes_on_where_the_first_died(tmp_path: Path) -> None:
    said: list[str] = []
    with _held(tmp_path / "lstm-key.lock") as other:

        def is_told(message: str) -> None:
            said.append(message)
            other.kill()

        cache = JudgeCache(tmp_path, "key", is_told)
        with cache.alone():
            assert cache.finished() is None
    assert len(said) == 1


def test_nobody_waits_for_another_judge_or_without_a_directory(tmp_path: Path) -> None:
    said: list[str] = []
    with _held(tmp_path / "lstm-key.lock"):
        for directory, key in ((tmp_path, "other"), (None, "key")):
            with JudgeCache(directory, key, said.append).alone():
                pass
    assert said == []


def test_nothing_is_left_behind_but_the_judge(tmp_path: Path) -> None:
    train(cache=tmp_path)
    train(cache=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
