"""A run directory belongs to one training; whoever fails or is killed there leaves no half of a run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.run import Run
from lebm_text.run_files import replacing
from lebm_text.store import atomic_write_json
from lebm_text.text.corpora import Corpus
from lebm_text.training import train as module
from lebm_text.training.checkpoint import load_checkpoint, save_checkpoint
from lebm_text.training.events import Event, describe_event
from lebm_text.training.train import train

from ..holding import held
from ..system_calls import MOVES, dying
from ..toy import toy_config

pytest.importorskip("fcntl")


def _tree(directory: Path) -> dict[str, str]:
    """Name → hash of every file; of a link, where it leads."""
    return {
        str(path.relative_to(directory)): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def finished(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(corpus, out=out, config=_config(), device="cpu")
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _config(**training: Any) -> Config:
    return toy_config().merge({"training": {"n_epochs": 1, **training}})


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}])
def test_beside_a_running_training_nothing_is_touched(run: Path, corpus: Corpus, how: dict[str, Any]) -> None:
    (run / ".lock").touch()
    before = _tree(run)
    asked: dict[str, Any] = {} if "resume" in how else {"corpus": corpus, "config": _config(seed=7)}
    with held(run / ".lock"), pytest.raises(InputError, match="another process is training in"):
        train(out=run, device="cpu", **asked, **how)
    assert _tree(run) == before


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_is_moved_away_is_not_written_to_its_old_place(
    run: Path, corpus: Corpus, tmp_path: Path, *, replaced: bool
) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"

    def move(event: Event) -> None:
        if event.kind == "checkpoint" and not moved.exists():
            out.rename(moved)
            if replaced:
                shutil.copytree(run, out)

    whole = _config(n_epochs=2)
    train(corpus, out=tmp_path / "whole", config=whole, device="cpu")
    before = _tree(run)
    with pytest.raises(InputError, match="out was moved, deleted or replaced during the training"):
        train(corpus, out=out, config=whole, device="cpu", on_event=move)
    assert _tree(out) == before if replaced else not out.exists()
    train(out=moved, device="cpu", resume=True)
    assert (moved / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_the_loser_of_two_that_begin_writes_nothing(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    monkeypatch.setattr(module, "start_new", lambda *_: pytest.fail("it is refused before the work"))
    with held(tmp_path / "run" / ".lock"), pytest.raises(InputError, match="another process is training in"):
        train(corpus, out=tmp_path / "run", config=_config(), device="cpu")
    assert list(_tree(tmp_path / "run")) == [".lock"]


def test_resume_reads_what_the_process_before_it_left(
    run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for its turn, the other one may come to its end."""
    shutil.rmtree(run / "checkpoints")
    before, locked = _tree(finished), Run.locked

    @contextmanager
    def late(self: Run) -> Iterator[None]:
        shutil.copytree(finished / "checkpoints", run / "checkpoints")
        with locked(self):
            yield

    monkeypatch.setattr(Run, "locked", late)
    train(out=run, resume=True, device="cpu")
    assert _tree(run) == before  # finished: nothing to do


def test_without_its_checkpoints_a_trained_run_keeps_its_weights(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    before = _tree(run)
    with pytest.raises(InputError, match="has weights, but no checkpoint to go on from"):
        train(out=run, resume=True, device="cpu")
    assert _tree(run) == before


def test_weights_of_a_finished_run_are_written_again(run: Path, finished: Path) -> None:
    (run / "model.safetensors").unlink()
    train(out=run, resume=True, device="cpu")
    assert (run / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    assert Run(run).progress()["finished"]


def test_a_configuration_that_was_changed_by_hand_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    out = tmp_path / "run"
    train(corpus, out=out, config=_config(), device="cpu", max_steps=1)
    config = json.loads((out / "config.json").read_text())
    config["training"]["learning_rate"] /= 2
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"was changed: training.learning_rate is .*, and the training began with"):
        train(out=out, resume=True, device="cpu")


def test_a_run_can_be_given_where_a_directory_can(finished: Path) -> None:
    model = LatentEBM.from_pretrained(Run(finished), device="cpu")
    assert model.generate(2).sentences == Run(finished).model(device="cpu").generate(2).sentences


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


# What the first files of a run are written by, in their order.
@pytest.mark.parametrize("place", ["tokenizer", "env.json", "config.json", "model"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_is_full_at_the_start_leaves_no_half_run(
    finished: Path, run: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, place: str, overwrite: bool
) -> None:
    if not overwrite:
        shutil.rmtree(run)
    write = atomic_write_json
    with monkeypatch.context() as patch:
        if place == "tokenizer":
            patch.setattr("lebm_text.text.tokenizers.atomic_write_bytes", _full)
        elif place == "model":
            patch.setattr(module, "build_model", _full)
        else:
            patch.setattr(
                "lebm_text.training.start.atomic_write_json",
                lambda path, value: (_full if path.name == place else write)(path, value),
            )
        with pytest.raises(OSError, match="No space"):
            train(corpus, out=run, config=_config(seed=7), device="cpu", overwrite=overwrite)
    assert not run.exists() if not overwrite else _tree(run) == _tree(finished)
    train(corpus, out=run, config=_config(seed=7), device="cpu", overwrite=overwrite)
    assert Run(run).config.training.seed == 7


def test_a_kill_while_a_run_is_replaced_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each system call: afterwards there is the old run, whole, or the new one."""
    run = tmp_path / "run"

    def fill(text: str) -> None:
        (run / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
        for name in ("tokenizer.json", "config.json", "model.safetensors", "checkpoints/last/state.json"):
            (run / name).write_text(text)

    def replace() -> None:
        with replacing(run) as begin:
            fill("new")
            begin()

    fill("old")
    (run / "notes.txt").write_text("mine")
    old = _tree(run)
    seen: set[str] = set()
    for _ in dying(monkeypatch, replace, ("mkdir", *MOVES)):
        with Run(run).locked():
            pass
        found = _tree(run)
        contents = {path.read_text() for path in run.rglob("*") if path.is_file() and path.name != "notes.txt"}
        assert len(contents) == 1
        assert set(found) == set(old)
        seen |= contents
        fill("old")
    assert seen == {"old", "new"}
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints", "config.json", "model.safetensors", "notes.txt", "tokenizer.json",
    ]  # fmt: skip


@pytest.mark.parametrize("left", [[], ["tokenizer.json"], ["tokenizer.json", "env.json"]])
def test_a_start_that_was_killed_does_not_block_the_next(tmp_path: Path, corpus: Corpus, left: list[str]) -> None:
    run = tmp_path / "run"
    (run / ".unfinished").mkdir(parents=True)
    for name in [*left, ".lock", ".env.json.4194305-00000000.tmp"]:
        (run / name).write_text("half")
    train(corpus, out=run, config=_config(), device="cpu")
    assert Run(run).progress()["finished"]
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["mine.txt", "model.safetensors"])
def test_what_is_no_run_and_no_leftover_is_left_alone(tmp_path: Path, corpus: Corpus, name: str) -> None:
    (tmp_path / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="neither empty nor a run"):
            train(corpus, out=tmp_path, config=_config(), device="cpu", overwrite=overwrite)
    assert list(_tree(tmp_path)) == [name]


def _set(state: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split(".")
    place: Any = state
    for name in parents:
        place = place[name]
    place[last] = value
    return state


@pytest.mark.parametrize("path", ["progress", "trainer", "progress.step", "trainer.model", "trainer.optimizers"])
@pytest.mark.parametrize("value", [None, {}, "x", [1]])
def test_a_checkpoint_that_fits_no_run_is_one_line(run: Path, path: str, value: object) -> None:
    """Whole by its checksum, but from elsewhere."""
    found = load_checkpoint(run / "checkpoints")
    state = _set(found.state, "progress.finished", False)
    for _ in range(2):
        save_checkpoint(run / "checkpoints", found.tensors, _set(state, path, value))
    with pytest.raises(InputError, match=r"no checkpoint of a training|does not fit this run") as refused:
        train(out=run, resume=True, device="cpu")
    assert "\n" not in str(refused.value)


def test_a_corpus_whose_name_has_a_dot_is_resumed_by_its_name(corpus: Corpus, tmp_path: Path) -> None:
    place = tmp_path / "wiki-v1.0"
    shutil.copytree(corpus.splits["train"].path.parent, place)
    train(place, out=tmp_path / "run", config=_config(), device="cpu", max_steps=1)
    train(place, out=tmp_path / "run", resume=True, device="cpu", max_steps=2)
    with pytest.raises(InputError, match=r"was trained on wiki-v1\.0, not on wiki-v1"):
        train("wiki-v1", out=tmp_path / "run", resume=True, device="cpu")


@pytest.mark.parametrize("reason", ["finished", "max_steps"])
def test_the_next_command_can_be_copied_whatever_the_directory_is_called(reason: str) -> None:
    said = describe_event(Event("end", {"path": Path("runs/my text"), "reason": reason, "step": 3, "seconds": 1.0}))
    assert said[-1].endswith((" --run 'runs/my text'", " --out 'runs/my text'"))
