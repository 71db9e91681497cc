"""A checkpoint comes back exactly, or its predecessor does, whatever happened to the disk or the process."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.training import checkpoint
from lebm_text.training.checkpoint import (
    flatten,
    load_checkpoint,
    save_checkpoint,
    unflatten,
)

from ..system_calls import MOVES, dying, replace_call


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def _tensors(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((3, 2), value), "rng": torch.arange(5, dtype=torch.uint8)}


def _save(root: Path, step: int) -> None:
    save_checkpoint(root, _tensors(step), {"step": step, "best": 0.1 * step, "name": "ä", "window": [1, None]})


def _step(root: Path) -> int:
    found = load_checkpoint(root)
    step = found.state["step"]
    assert torch.equal(found.tensors["a"], torch.full((3, 2), float(step)))
    return int(step)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).bfloat16(),
        "scalar": torch.tensor(3.0),
        "bytes": torch.Generator().manual_seed(7).get_state(),
        "transposed": torch.arange(6.0).view(2, 3).T,
    }
    state: dict[str, Any] = {"step": 3, "rate": 0.1 + 0.2, "nested": {"list": [1, 2.5, None, True, "x"]}}
    save_checkpoint(tmp_path, tensors, state)
    found = load_checkpoint(tmp_path)
    assert found.state == state
    assert found.notice is None
    assert found.path == tmp_path / "last"
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_former_last_is_kept_as_previous_and_nothing_else(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step)
    assert _names(tmp_path) == ["last", "previous"]
    assert checkpoint._verify(tmp_path / "last")["step"] == 3
    assert checkpoint._verify(tmp_path / "previous")["step"] == 2


def _cut_tensors(last: Path) -> None:
    os.truncate(last / "tensors.safetensors", 50)


def _flip_byte(last: Path) -> None:
    data = bytearray((last / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (last / "tensors.safetensors").write_bytes(data)


def _cut_state(last: Path) -> None:
    os.truncate(last / "state.json", 40)


def _edit_state(last: Path) -> None:
    text = (last / "state.json").read_text()
    (last / "state.json").write_text(text.replace('"step": 2', '"step": 9'))


def _drop_tensors(last: Path) -> None:
    (last / "tensors.safetensors").unlink()


def _drop_all(last: Path) -> None:
    for file in last.iterdir():
        file.unlink()
    last.rmdir()


DAMAGES = [_cut_tensors, _flip_byte, _cut_state, _edit_state, _drop_tensors, _drop_all]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_last_falls_back_to_previous_and_says_so(tmp_path: Path, damage: Any) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    damage(tmp_path / "last")
    found = load_checkpoint(tmp_path)
    assert found.state["step"] == 1
    assert found.path == tmp_path / "previous"
    assert found.notice is not None
    assert str(tmp_path / "last") in found.notice
    assert "previous" in found.notice
    assert "\n" not in found.notice


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_last_never_replaces_a_good_previous(tmp_path: Path, damage: Any) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    damage(tmp_path / "last")
    _save(tmp_path, 3)
    assert checkpoint._verify(tmp_path / "last")["step"] == 3
    assert checkpoint._verify(tmp_path / "previous")["step"] == 1


def test_nothing_usable_is_one_line_of_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable checkpoint") as error:
        load_checkpoint(tmp_path / "nowhere")
    assert "\n" not in str(error.value)
    _save(tmp_path, 1)
    _cut_tensors(tmp_path / "last")
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path)


def test_names_reach_the_disk_after_what_they_stand_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are synced before a name is moved to them, and the directory after its last change of a name."""
    _save(tmp_path, 1)
    calls: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(descriptor: int) -> None:
        found = os.fstat(descriptor)
        is_root = os.path.samestat(found, tmp_path.stat())
        calls.append("sync root" if is_root else "sync directory" if stat.S_ISDIR(found.st_mode) else "sync file")
        fsync(descriptor)

    def renamed(old: Any, new: Any) -> None:
        calls.append(f"name {Path(new).name}")
        (rename if Path(old).is_dir() else replace)(old, new)

    replace_call(monkeypatch, "fsync", synced)
    replace_call(monkeypatch, "rename", renamed)
    replace_call(monkeypatch, "replace", renamed)
    _save(tmp_path, 2)
    files = [("sync file", f"name {name}", "sync directory") for name in ("tensors.safetensors", "state.json")]
    assert calls == [*files[0], *files[1], "name previous", "name last", "sync root"]


@pytest.mark.parametrize(("damaged", "before"), [(False, 2), (True, 1)])
def test_dying_at_any_system_call_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool, before: int
) -> None:
    """Where `last` is damaged beforehand, only `previous` stands between the user and nothing."""
    root = tmp_path / "checkpoints"

    def prepare() -> None:
        shutil.rmtree(root, ignore_errors=True)
        _save(root, 1)
        _save(root, 2)
        if damaged:
            _cut_tensors(root / "last")

    def save_again() -> None:
        _save(root, 4)
        assert _step(root) == 4
        assert _names(root) == ["last", "previous"]

    prepare()
    n_calls = 0
    for _ in dying(monkeypatch, lambda: _save(root, 3), ("mkdir", "open", "fsync", *MOVES)):
        n_calls += 1
        assert _step(root) in (before, 3), f"call {n_calls}"
        save_again()
        prepare()
    assert n_calls > 15
    assert _step(root) == 3
    save_again()


def test_kill_9_while_saving_leaves_a_checkpoint(tmp_path: Path) -> None:
    program = (
        "import sys, itertools, pathlib, torch\n"
        "from lebm_text.training.checkpoint import save_checkpoint\n"
        "for step in itertools.count(1):\n"
        "    tensors = {'a': torch.full((3, 2), float(step)), 'big': torch.full((200_000,), float(step))}\n"
        "    save_checkpoint(pathlib.Path(sys.argv[1]), tensors, {'step': step})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    try:
        while not (tmp_path / "previous").exists():
            assert child.poll() is None
            time.sleep(0.005)
        time.sleep(0.0137)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    before = _step(tmp_path)
    _save(tmp_path, before + 1)
    assert _step(tmp_path) == before + 1
    assert _names(tmp_path) == ["last", "previous"]


def _model() -> tuple[nn.Linear, torch.optim.Adam]:
    linear = nn.Linear(3, 2)
    linear.load_state_dict({"weight": torch.arange(6.0).view(2, 3) / 7, "bias": torch.zeros(2)})
    parameters: list[dict[str, Any]] = [
        {"params": [linear.weight], "lr": 0.1},
        {"params": [linear.bias], "betas": (0.5, 0.9)},
    ]
    return linear, torch.optim.Adam(parameters, lr=0.01)


def _update(model: nn.Linear, optimizer: torch.optim.Adam, rng: torch.Generator) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 3, generator=rng)).square().mean().backward()
    optimizer.step()


def test_optimizer_and_rng_continue_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = _model()
    rng = torch.Generator().manual_seed(3)
    for _ in range(3):
        _update(model, optimizer, rng)
    tree = {
        "optimizer": optimizer.state_dict(),
        "rng": {"noise": rng.get_state()},
        "weights": model.state_dict(),
    }
    tensors, skeleton = flatten(tree, "training")
    save_checkpoint(tmp_path, tensors, {"training": skeleton})
    for _ in range(4):
        _update(model, optimizer, rng)

    found = load_checkpoint(tmp_path)
    restored = unflatten(found.state["training"], found.tensors)
    other, other_optimizer = _model()
    other_rng = torch.Generator()
    other.load_state_dict(restored["weights"])
    other_optimizer.load_state_dict(restored["optimizer"])
    other_rng.set_state(restored["rng"]["noise"])
    assert other_optimizer.param_groups[1]["betas"] == (0.5, 0.9)
    for _ in range(4):
        _update(other, other_optimizer, other_rng)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(rng.get_state(), other_rng.get_state())


def test_flatten_keeps_types_and_refuses_others() -> None:
    tree = {
        "t": (1, [2.5, None]),
        "ints": {0: "a", 10: True},
        "__tensor__": "not a tensor",
        "x": torch.ones(2),
    }
    tensors, skeleton = flatten(tree, "p")
    assert list(tensors) == ["p.0"]
    back = unflatten(skeleton, tensors)
    assert torch.equal(back.pop("x"), tree.pop("x"))  # type: ignore[arg-type]
    assert back == tree
    assert isinstance(back["t"], tuple)
    with pytest.raises(TypeError, match="set"):
        flatten({"s": {1, 2}}, "p")


def test_every_changed_bit_of_a_checkpoints_state_is_noticed(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    state = tmp_path / "last" / "state.json"
    good = state.read_bytes()
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        state.write_bytes(damaged)
        with pytest.raises(InputError) as refused:
            load_checkpoint(tmp_path)
        assert "\n" not in str(refused.value)
    state.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"state\.json is not complete"):
        load_checkpoint(tmp_path)


def test_a_disk_that_is_full_keeps_the_checkpoint_and_no_part_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            _save(tmp_path, 2)
    assert _names(tmp_path) == ["last"]
    assert _step(tmp_path) == 1
