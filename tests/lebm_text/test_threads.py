"""How many threads there are, how they wait, and that every command keeps to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch

from lebm_text import threads
from lebm_text.cli import main as command_line
from lebm_text.cli.main import COMMANDS, main
from lebm_text.cli.options import device_options
from lebm_text.threads import SHORT_SPIN, available_cpus, cpu_threads, default_threads, spin_briefly

from .cli.commands import all_commands

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 processors without control groups; the files are made by the tests."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(threads, "_OF_THIS_PROCESS", tmp_path / "own")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "set_by_user", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}, {"KMP_BLOCKTIME": "0"}]
)
def test_the_users_own_spin_is_left_alone(set_by_user: dict[str, str]) -> None:
    environment = dict(set_by_user)
    spin_briefly(environment)
    assert environment == set_by_user


def test_every_command_spins_briefly_before_torch_comes() -> None:
    """Of torch's own copy of the runtime nothing can be asked, but by then the variables must be there."""
    code = (
        "import os, sys\n"
        "seen = []\n"
        "class Watch:\n"
        "    def find_spec(name, *rest):\n"
        "        if name == 'torch': seen.append(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.meta_path.insert(0, Watch)\n"
        "from lebm_text.cli.main import main\n"
        "assert 'GOMP_SPINCOUNT' not in os.environ, 'an import changes nothing'\n"
        "main(['views', '--help'])\n"
        "assert seen == ['3000'] and os.environ['KMP_BLOCKTIME'] == '1', seen\n"
    )
    own = {name: value for name, value in os.environ.items() if name not in {"OMP_WAIT_POLICY", *SHORT_SPIN}}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_without_control_groups_the_affinity_counts(groups: Path) -> None:
    assert available_cpus() == 8


@pytest.mark.parametrize(
    ("limit", "n"), [("max 100000", 8), ("300000 100000", 3), ("250000 100000", 2), ("50000 100000", 1), ("odd", 8)]
)
def test_a_containers_quota_is_respected(groups: Path, limit: str, n: int) -> None:
    write(groups / "own", "0::/\n")
    write(groups / "groups" / "cpu.max", f"{limit}\n")
    assert available_cpus() == n


def test_the_narrowest_group_above_a_process_counts(groups: Path) -> None:
    write(groups / "own", "0::/jobs/mine\n")
    write(groups / "groups" / "jobs" / "cpu.max", "200000 100000\n")
    write(groups / "groups" / "jobs" / "mine" / "cpu.max", "400000 100000\n")
    assert available_cpus() == 2


@pytest.mark.parametrize(("quota", "n"), [("400000", 4), ("-1", 8)])
def test_so_is_a_quota_of_version_1(groups: Path, quota: str, n: int) -> None:
    write(groups / "own", "9:memory:/\n4:cpu,cpuacct:/not/seen/here\n")
    write(groups / "groups" / "cpu" / "cpu.cfs_quota_us", f"{quota}\n")
    write(groups / "groups" / "cpu" / "cpu.cfs_period_us", "100000\n")
    assert available_cpus() == n


def test_the_variable_wins_over_the_quota(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(groups / "own", "0::/\n")
    write(groups / "groups" / "cpu.max", "200000 100000\n")
    with cpu_threads(6):
        assert (default_threads(), default_threads(2)) == (2, 1)
        monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
        assert (default_threads(), default_threads(2)) == (5, 5)
        for no_use in ("0", "1025", "999999"):
            monkeypatch.setenv("OMP_NUM_THREADS", no_use)
            assert default_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "1024")
        assert default_threads() == 1024


@pytest.mark.parametrize(
    ("variable", "arguments", "n"),
    [(None, [], 2), ("3", [], 3), ("3", ["--threads", "4"], 4), (None, ["--threads", "7"], 7)],
)
def test_threads_hold_while_a_command_runs(
    groups: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, arguments: list[str], n: int
) -> None:
    write(groups / "own", "0::/\n")
    write(groups / "groups" / "cpu.max", "200000 100000\n")
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    seen: list[int] = []

    @click.command("try")
    @device_options()
    def attempt(device: str) -> None:
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(command_line.LazyGroup, "get_command", lambda self, ctx, name: attempt)
    monkeypatch.setitem(COMMANDS, "try", COMMANDS["views"])
    with cpu_threads(5):
        assert main(["try", *arguments]) == 0
        assert torch.get_num_threads() == 5
    assert seen == [n]


def test_every_command_that_has_a_device_has_threads() -> None:
    for path, command in all_commands():
        names = {parameter.name for parameter in command.params}
        assert ("device" in names) == ("n_threads" in names), path
