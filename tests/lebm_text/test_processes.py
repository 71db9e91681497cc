"""Two processes do what one does: rows and sums without any, and two real ones that meet through gloo."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.metrics import read_metrics
from lebm_text.processes import ALONE, Processes, Share, joined, n_launched
from lebm_text.random import RowsRng, draw_normal, draw_uniform
from lebm_text.text.batching import Batch
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.weights import load_weights

from .cli.test_main import one_line
from .launching import start_two
from .one_of_several import BREAK, CASES, figures, runs
from .toy import seeded, toy_batch, write_text_corpus

# Sums over the rows of a batch round differently when they are made in two parts, by some 1e-7 of their terms, and Adam
# divides by the gradient's size, so that where a gradient nearly cancels, the step of 0.01 that it takes is less exact;
# over all weights the error stays far below the movement of a single step.
STEP_TOLERANCE = 1e-4


class _OneOf(Processes):
    """A rank whose sums are those of one rank: for what needs no others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def _shares(batch: Batch, size: int) -> list[Share]:
    return [_OneOf(rank, size).share(batch) for rank in range(size)]


def test_shares_are_the_batch() -> None:
    batch = toy_batch([6, 5, 5, 3, 2, 2, 1])
    parts = [share.batch for share in _shares(batch, 3)]
    assert sorted(int(i) for part in parts for i in part.index) == sorted(batch.index.tolist())
    for part in parts:
        assert isinstance(part, Batch)
        assert part.tokens.shape[1] == part.lengths[0]
        assert (part.lengths[1:] <= part.lengths[:-1]).all()
        for row, index in enumerate(part.index.tolist()):
            whole = batch.index.tolist().index(index)
            n = int(batch.lengths[whole])
            assert part.tokens[row, :n].tolist() == batch.tokens[whole, :n].tolist()
    assert max(part.n_tokens for part in parts) - min(part.n_tokens for part in parts) <= 4


def test_noise_of_shares_is_that_of_the_batch() -> None:
    whole, shares = seeded(3), _shares(toy_batch([5, 4, 3, 2, 1]), 2)
    streams = [seeded(3), seeded(3)]
    for draw, shape in ((draw_normal, (4,)), (draw_uniform, ()), (draw_normal, (2, 3))):
        wanted = draw(whole, (5, *shape))
        for share, stream in zip(shares, streams, strict=True):
            rows = share.rows(wanted)
            assert torch.equal(draw(share.rng(stream), (len(rows), *shape)), rows)
    with pytest.raises(ValueError, match="2 rows"):
        RowsRng(seeded(), torch.tensor([0, 2]), 4).normal((3, 1))


def test_a_rank_without_rows_keeps_step_and_counts_nowhere() -> None:
    batch = toy_batch([3, 2])
    share = _shares(batch, 3)[2]
    assert share.batch.index.tolist() == batch.index[:1].tolist()
    assert share.gather(torch.ones(1, 4)).tolist() == [[0.0] * 4] * 2
    assert float(share.sum(torch.ones(1))) == share.of_rows == share.of_tokens == 0
    assert float(share.largest(torch.tensor(-3.0))) == 0  # of three, the two that say nothing here
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()  # type: ignore[no-untyped-call]
    share.sum_gradients([weight])
    assert weight.grad is not None and weight.grad.tolist() == [0.0, 0.0]


def test_alone_nothing_is_copied_nor_waited_for() -> None:
    batch, stream, values = toy_batch([3, 2]), seeded(), torch.ones(2)
    share = ALONE.share(batch)
    assert share.batch is batch and share.rng(stream) is stream and share.rows(values) is values
    assert share.of_rows == share.of_tokens == share.of_equals == 1
    assert ALONE.every("x") == ["x"] and ALONE.first
    assert ALONE.agreed("b", ("a", "b")) == "b" and ALONE.agreed(None, ("a", "b")) is None


def test_parts_of_figures_add_up_to_means() -> None:
    batch = toy_batch([6, 5, 5, 3, 2, 2, 1])
    shares, values = _shares(batch, 3), torch.arange(7.0)
    assert sum(float(share.rows(values).mean()) * share.of_rows for share in shares) == pytest.approx(3)
    assert sum(share.of_tokens for share in shares) == pytest.approx(1)
    assert sum(share.of_equals for share in shares) == pytest.approx(1)
    assert math.isnan(float(shares[0].largest(torch.tensor(math.nan))))


def test_what_must_be_alike_is_compared() -> None:
    class Others(_OneOf):
        def every(self, value: object) -> list[object]:  # type: ignore[override]
            return [value, "another"]

    Others(0, 2).require_same("text", "another")
    with pytest.raises(InputError, match="same text"):
        Others(0, 2).require_same("text", "mine")


def test_of_several_wishes_the_first_choice_is_that_of_all() -> None:
    """Whoever wishes it, or wishes nothing."""

    class Voting(_OneOf):
        def __init__(self, *others: float) -> None:
            super().__init__(0, 2)
            self._others = torch.tensor(others)

        def sum_(self, tensor: torch.Tensor) -> None:
            tensor += self._others

    choices = ("stopped", "max_steps", "max_minutes")
    assert Voting(0, 0, 1).agreed("max_steps", choices) == Voting(0, 1, 0).agreed("max_minutes", choices) == "max_steps"
    assert Voting(1, 0, 0).agreed(None, choices) == "stopped"
    assert Voting(0, 0, 0).agreed(None, choices) is None


@pytest.mark.parametrize(("rank", "order"), [(0, ["act", "wait"]), (1, ["wait", "act"])])
def test_the_first_acts_before_the_others(rank: int, order: list[str]) -> None:
    done: list[str] = []

    class Waiting(_OneOf):
        def every(self, value: object) -> list[object]:  # type: ignore[override]
            done.append("wait")
            return [value, value]

    def act() -> int:
        done.append("act")
        return 5

    assert Waiting(rank, 2).first_then_others(act) == 5
    assert done == order


class _Beside(Processes):
    """A rank that works beside another, of whom all is known that it will say."""

    size = 2

    def __init__(self, rank: int, other: object = ({}, {})) -> None:
        self.rank, self._other = rank, other

    def every(self, value: object) -> list[object]:  # type: ignore[override]
        return [value, self._other]


def _acts(done: list[int], *, wrong: int | None = None) -> list[Callable[[], int]]:
    """Five acts, the i-th of which is noted and gives 10 i, but for a `wrong` one."""

    def act(i: int) -> int:
        if i == wrong:
            raise InputError(f"act {i}")
        done.append(i)
        return 10 * i

    return [partial(act, i) for i in range(5)]


def test_acts_of_one_cost_are_spread_evenly() -> None:
    mine: list[int] = []
    costs = [1, 2, 1, 2, 2]  # by falling cost: 1, 3, 4, 0, 2
    assert _Beside(0, ({0: 0, 3: 30}, {})).each(_acts(mine), costs) == [0, 10, 20, 30, 40]
    assert mine == [1, 2, 4]
    alone: list[int] = []
    assert Processes().each(_acts(alone), costs) == [0, 10, 20, 30, 40] and alone == [0, 1, 2, 3, 4]


def test_bad_input_of_any_act_reaches_all() -> None:
    done: list[int] = []
    with pytest.raises(InputError, match="act 2"):
        Processes().each(_acts(done, wrong=2), [0] * 5)
    assert done == [0, 1]
    for rank, wrong, theirs, raised in ((0, None, 3, 3), (0, 2, 3, 2), (0, 4, 3, 3), (1, None, 0, 0)):
        with pytest.raises(InputError, match=f"act {raised}"):
            _Beside(rank, ({}, {theirs: InputError(f"act {theirs}")})).each(_acts([], wrong=wrong), [0] * 5)


@pytest.mark.parametrize(("variables", "n"), [({}, 1), ({"WORLD_SIZE": "4"}, 1), ({"WORLD_SIZE": "4", "RANK": "0"}, 4)])
def test_launcher(variables: dict[str, str], n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert n_launched() == n


def test_commands_that_work_alone_say_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["curves"]) == 2
    assert "curves works in one process" in one_line(capsys)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="MASTER_ADDR"), joined("cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert main(["generate"]) == 2
    assert "WORLD_SIZE" in one_line(capsys)


_MEETING = (
    "from lebm_text.processes import joined\n"
    "for n in range(6):\n"
    "    with joined('cpu') as processes:\n"
    "        print(processes.every(10 * n + processes.rank))\n"
)


def test_processes_meet_again_and_again_where_the_launcher_keeps_the_addresses() -> None:
    """As in a program that trains several models: torchrun has one store for all that its processes do."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    common |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", _MEETING],
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        for process in both:
            said, _ = process.communicate(timeout=120)  # an old address is waited for longer than that
            assert said.splitlines() == [str([10 * n, 10 * n + 1]) for n in range(6)]
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Weights, metrics, runs continued by another number, halved steps, and to the bit sentences and bounds."""
    corpus, one, two = write_text_corpus(tmp_path / "toy", n_train=25), tmp_path / "one", tmp_path / "two"
    runs(one, corpus)
    shutil.copytree(one / "part", two / "others-part")
    both = start_two("tests.lebm_text.one_of_several", str(two), str(corpus))
    for process in both:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    shutil.copytree(two / "part", one / "others-part")
    assert main(["train", "--resume", "--out", str(one / "others-part"), "--device", "cpu"]) == 0
    for name in CASES:
        _assert_same(one / name, two / name)
    for continued in (one, two):
        assert load_checkpoint(continued / "part" / "checkpoints").state["progress"]["step"] == BREAK
        _assert_same(one / "chains", continued / "others-part")
        assert load_weights(continued / "others-part" / "model.safetensors")[1]["prior_step_halvings"] == 1
    # The same weights for both: only how the work is shared differs.
    assert json.loads((two / "figures.json").read_text()) == figures(two / "chains", ALONE)


def _assert_same(one: Path, two: Path) -> None:
    """Equal but for rounding: weights and metrics; equal names of all files."""
    first, second = (load_weights(run / "model.safetensors")[0] for run in (one, two))
    moved = max(float((first[name] - second[name]).abs().max()) for name in first if first[name].numel())
    assert moved < STEP_TOLERANCE, (one.name, moved)
    pairs = list(zip(read_metrics(one / "metrics.jsonl"), read_metrics(two / "metrics.jsonl"), strict=True))
    for a, b in pairs:
        assert set(a) == set(b)
        same = [k for k in a if k not in ("tokens_per_second", "eta_seconds")]
        assert [b[k] for k in same] == pytest.approx([a[k] for k in same], rel=2e-3, abs=1e-4)
    assert pairs
    names = [{str(path.relative_to(run)) for path in run.rglob("*")} for run in (one, two)]
    assert names[0] == names[1]


def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    """At once, with a message and an exit code, and what is on the disk is whole."""
    corpus, out = write_text_corpus(tmp_path / "toy"), tmp_path / "run"
    settings = ("training.n_epochs=100000", "training.checkpoint_every=2", "training.n_threads=1", "prior.n_steps=2")
    small = ("model.hidden_dim=8", "model.embedding_dim=8", "inference.n_steps=2", "training.batch_size=8")
    options = [word for setting in (*settings, *small) for word in ("--set", setting)]
    both = start_two("tests.lebm_text.brief", "train", str(corpus), "--out", str(out), "--device", "cpu", *options)
    try:
        _wait_for(out / "checkpoints" / "last")
        both[1].send_signal(signal.SIGKILL)
        _, said = both[0].communicate(timeout=240)  # one that is not told waits half an hour
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert both[0].returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("lebm-text: error: another process of this run has ended") and "when it is resumed" in last
    assert "Traceback" not in said
    checkpoint = load_checkpoint(out / "checkpoints")
    assert checkpoint.notice is None and checkpoint.state["progress"]["step"] >= 2
    assert not [path for path in out.rglob("*") if ".tmp" in path.name]


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 240  # two starts of torch on a busy machine
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)
