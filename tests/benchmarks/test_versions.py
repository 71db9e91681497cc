"""Two versions are timed in turns, each in its own directory."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import versions
from benchmarks.child import ROOT

from ..lebm_text.tiny import tiny_model
from ..lebm_text.toy import write_text_corpus


def test_versions_take_turns_and_the_ratio_is_above_one_where_this_one_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    seconds = {"/other": [9.0, 4.0, 4.0], str(ROOT): [2.0, 2.0, 1.0]}

    def run(_command: list[str], *, cwd: Path, **_options: Any) -> SimpleNamespace:
        seen.append(str(cwd))
        return SimpleNamespace(returncode=0, stdout=json.dumps({"update": seconds[str(cwd)].pop(0)}))

    monkeypatch.setattr("subprocess.run", run)
    rows = versions.measure(Path("/other"), [], 3)["results"]
    assert rows == [{"part": "update", "other": 4.0, "this": 2.0, "ratio": 2.0}]
    assert seen == ["/other", str(ROOT)] * 3


def test_the_three_parts_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has imported what takes each child seconds."""

    def run(command: list[str], **_options: Any) -> SimpleNamespace:
        program, *arguments = command[2:]
        monkeypatch.setattr(sys, "argv", ["-c", *arguments])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(program, "child", "exec"), {})
        return SimpleNamespace(returncode=0, stdout=printed.getvalue())

    monkeypatch.setattr("subprocess.run", run)
    tiny_model().save_pretrained(tmp_path / "run")
    text = write_text_corpus(tmp_path / "text")
    arguments = [str(tmp_path / "run"), str(text / "train.txt"), str(text / "test.txt"), "SMOKE", "4", "2", "1"]
    rows = versions.measure(ROOT, arguments, 1)["results"]
    assert [row["part"] for row in rows] == ["update", "generation", "judge"]
    assert all(row["other"] > 0 and row["this"] > 0 for row in rows)
