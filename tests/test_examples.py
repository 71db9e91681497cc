"""Every example runs and says something: one as its reader would run it, the others in this process, and smaller."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lm_eval import fppl

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PROGRAMS = [path.stem for path in sorted(EXAMPLES.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
SMALLER: dict[str, tuple[list[str], dict[str, Any]]] = {
    "learning_a_density": (["8", "0.01"], {}),
    "short_run_in_the_plane": (["1", "picture.png"], {"BATCH": 32, "DRAWN": 400}),
}
"""Arguments and constants of an example that would take long."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    arguments, constants = SMALLER.get(name, ([], {}))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.MonkeyPatch.context() as loaded:  # the module is this test's own
        loaded.delitem(sys.modules, name, raising=False)
        module: Any = importlib.import_module(name)
        for constant, value in constants.items():
            loaded.setattr(module, constant, value)
        if hasattr(module, "SETTINGS"):  # of a training: long enough that `train.py` stops once and goes on
            loaded.setitem(module.SETTINGS["training"], "n_epochs", 3)
        module.main()
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert list(tmp_path.rglob("*.py")) == []


def test_files_are_judged_against_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real.txt").write_text("a b c\nb c a\n" * 50)
    (tmp_path / "good.txt").write_text("b c a\na b c\n" * 45)
    _call("judge_any_text", [str(tmp_path / "good.txt"), str(tmp_path / "real.txt")], monkeypatch)
    _, good, shuffled, _ = capsys.readouterr().out.splitlines()
    assert float(good.split()[1]) < 1.5 < float(shuffled.split()[2])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("judge_any_text", ["one.txt"]),
        ("judge_any_text", ["nowhere.txt", "nowhere.txt"]),
        ("learning_a_density", ["x"]),
        ("learning_a_density", ["0", "1e-3"]),
        ("short_run_in_the_plane", ["0"]),
        ("short_run_in_the_plane", ["1", "picture.txt"]),
        ("short_run_in_the_plane", ["1", "/dev/null/picture.png"]),
        ("short_run_in_the_plane", ["1", "picture.png", "2"]),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        _call(name, arguments, monkeypatch)
    captured = capsys.readouterr()
    assert (refused.value.code, captured.out) == (2, "")
    assert "error: " in captured.err


def _call(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    importlib.import_module(name).main()


def test_an_example_starts_from_anywhere(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    call = [sys.executable, "-W", "error", str(EXAMPLES / "judge_any_text.py")]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3


def test_the_judge_to_copy_from_reads_an_empty_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models write such sentences, and they are one token long."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    assert fppl(["a b", ""], ["a b", "b a"] * 9, judge="new_judge:Bigram").ppl > 1
