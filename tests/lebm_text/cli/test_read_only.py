"""A run that cannot be written is read all the same: its figures are shown, and it is said that they are not kept."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lebm_text import writing
from lebm_text.cli.main import main

from .test_main import one_line

_COMMANDS = [
    ["views", "-n", "20"],
    ["fppl", "-n", "20", "--lm", "kn3"],
    ["evaluate", "-n", "20", "--lm", "kn3", "--temperature", "1", "--no-greedy"],
]


def _freeze(monkeypatch: pytest.MonkeyPatch, directory: Path, *, told: bool) -> None:
    """As on a medium that is read-only (root may write where permissions forbid it); `told`: the system says so."""
    access, temporary = os.access, writing._temporary

    def refuse(target: Path) -> Any:
        if target.is_relative_to(directory):
            raise OSError(errno.EROFS, "Read-only file system", str(target))
        return temporary(target)

    monkeypatch.setattr(writing, "_temporary", refuse)
    if told:

        def allowed(path: Any, mode: int) -> bool:
            return not (mode == os.W_OK and Path(path).is_relative_to(directory)) and access(path, mode)

        monkeypatch.setattr(os, "access", allowed)


@pytest.mark.parametrize("command", _COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("told", [True, False])
def test_figures_are_shown_and_said_not_to_be_kept(
    grammar_run: Path,
    command: list[str],
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(grammar_run.rglob("*"))
    _freeze(monkeypatch, grammar_run, told=told)
    assert main([*command, "--run", str(grammar_run), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["kind"]
    warnings = [line for line in captured.err.splitlines() if line.startswith("warning: cannot write")]
    figures = ("the figures are shown and not kept", "the figures are not kept")
    assert len([line for line in warnings if line.endswith(figures)]) == 1
    assert len([line for line in warnings if line.endswith("the samples are judged and not kept")]) == (
        command[0] != "views"
    )
    assert [path for path in sorted(grammar_run.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]


def test_a_report_that_was_asked_for_elsewhere_is_shown_before_the_error(
    grammar_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    output = tmp_path / "views.json"
    assert main(["views", "-n", "20", "--run", str(grammar_run), "-o", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.out
    assert captured.err.splitlines()[-1] == f"lebm-text: error: No space left on device: {output}"
    assert not output.exists()


def test_the_page_is_refused_before_the_work(
    grammar_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _freeze(monkeypatch, grammar_run, told=True)
    assert main(["report", "--run", str(grammar_run)]) == 2
    assert one_line(capsys) == f"cannot write {grammar_run / 'report.html'}: permission denied"
