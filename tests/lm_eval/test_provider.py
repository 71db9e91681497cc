"""`lm_eval` is also the import name of another distribution: it is recognised, and refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import lm_eval
from lebm_text import judges
from lebm_text.errors import InputError
from lebm_text.judges import check_judges

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _looked_for_again() -> Iterator[None]:
    lm_eval.foreign_provider.cache_clear()
    yield
    lm_eval.foreign_provider.cache_clear()


def test_marker() -> None:
    assert lm_eval.PROVIDER == "lebm-text"
    check_judges()


@pytest.mark.parametrize("names", [["lm-eval"], ["lebm-text", "lm_eval"], ["lm_eval", "Lebm-Text"]])
def test_other_distribution_is_seen(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "packages_distributions", lambda: {"lm_eval": names})
    assert lm_eval.foreign_provider() in ("lm-eval", "lm_eval")
    with pytest.raises(InputError, match="same import name"):
        check_judges()


@pytest.mark.parametrize("names", [[], ["lebm-text"], ["lebm-text", "lebm-text"]])
def test_own_distribution_is_no_other(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "packages_distributions", lambda: {"lm_eval": names})
    assert lm_eval.foreign_provider() is None


def test_other_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    monkeypatch.setattr(judges, "packages_distributions", lambda: {"lm_eval": ["lebm-text", "lm_eval"]})
    with pytest.raises(InputError, match=r"is that of lm_eval, .*run: pip uninstall -y lm_eval && pip install --force"):
        check_judges()


def test_a_missing_module_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"cannot be imported .*; run: pip install --force-reinstall --no-deps"):
        check_judges()


CALLS = """
import contextlib, io, json, sys
from lebm_text.cli.main import main
ends = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(arguments)
    ends.append((code, said.getvalue()))
with open(sys.argv[2], "w") as file:
    json.dump(ends, file)
"""


def test_under_another_package_all_works_that_needs_no_judge(tmp_path: Path) -> None:
    """With its `lm_eval` first on the path; one line says which is there and what mends it."""
    other = tmp_path / "site" / "lm_eval"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("def simple_evaluate(): ...\n")
    run = tmp_path / "run"
    shutil.copytree(ROOT / "tests" / "data" / "run-0.1.0", run)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(other.parent), str(ROOT)])}
    fine = [["generate", "-n", "2"], ["report"]]
    wrong = [["fppl", "--run", str(run)], ["ngram", "train", "x"], ["compare", str(run), str(run)]]
    calls = [*([*arguments, "--run", str(run)] for arguments in fine), *wrong]
    command = [sys.executable, "-c", CALLS, json.dumps(calls), str(tmp_path / "ends.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = json.loads((tmp_path / "ends.json").read_text())
    assert [code for code, _ in ends] == [0, 0, 2, 2, 2], ends
    assert "frontier-kn5-default-test" in (run / "report.html").read_text()  # named among what cannot be read
    for _, said in ends[2:]:
        assert said.count("\n") == 1
        assert f"lm_eval in {other} is that of" in said
        assert "pip install --force-reinstall --no-deps lebm-text" in said
