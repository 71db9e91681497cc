"""Every notebook runs from its first cell to its last, in this process, and is stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
CASES = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def run(path: Path) -> None:
    """The code cells one after the other, as a kernel does, but for what only a kernel can: it refuses magics."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(read(path)["cells"], 1):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)


@CASES
def test_notebook(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context({"backend": "agg"}):
        run(path)
        for number in plt.get_fignums():
            plt.figure(number).savefig(f"{number}.png")
        plt.close("all")
    assert len(capsys.readouterr().out.splitlines()) >= 6
    assert all(left.suffix == ".png" for left in tmp_path.iterdir())


@CASES
def test_is_stored_clean(path: Path) -> None:
    notebook = read(path)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert path.read_text(encoding="utf-8") == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["judge_any_text", "latent_space", "train_and_look"]
