"""Devices by name; env.json says what ran, in plain JSON."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text import __version__, environment
from lebm_text.environment import describe_environment, resolve_device
from lebm_text.errors import InputError

CPU = torch.device("cpu")


def test_auto_is_a_device_that_is_there() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["tpu9", "", None])
def test_an_unknown_device_is_refused(name: Any) -> None:
    with pytest.raises(InputError, match="no such device"):
        resolve_device(name)


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="the device cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["mps", "meta"])
def test_a_device_that_models_do_not_run_on_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"not on {name}"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="there is no cuda:2: torch sees 2 CUDA devices"):
        resolve_device("cuda:2")


def test_names_versions_machine_and_corpus() -> None:
    found = describe_environment(device=CPU, n_threads=3, precision="fp32", corpus={"name": "ptb"})
    assert json.loads(json.dumps(found)) == found
    assert found["lebm_text"] == __version__
    assert found["python"] == platform.python_version()
    assert torch.__version__.split("+")[0] == found["packages"]["torch"].split("+")[0]
    assert (found["device"], found["threads"], found["precision"]) == ("cpu", 3, "fp32")
    assert found["device_name"]
    assert found["corpus"] == {"name": "ptb"}
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["date"])
    assert 0 <= age.total_seconds() < 60


def test_two_runs_begun_in_one_second_differ_in_their_date() -> None:
    """By its env.json a training knows that its directory is still its own."""
    first, second = (
        describe_environment(device=CPU, n_threads=1, precision="fp32", corpus={})["date"] for _ in range(2)
    )
    assert first != second


def test_package_that_is_not_installed_is_null() -> None:
    assert environment._version("lebm-text-no-such-distribution") is None


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_is_that_of_the_checkout_the_code_runs_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "lebm_text" / "environment.py"
    module.parent.mkdir()
    module.write_text("first")
    monkeypatch.setattr(environment, "__file__", str(module))
    assert environment._git_state() is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment._git_state() == {"commit": commit, "changed": False}
    module.write_text("second")
    assert environment._git_state() == {"commit": commit, "changed": True}
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))  # as in a hook of another checkout
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert environment._git_state() == {"commit": commit, "changed": True}
