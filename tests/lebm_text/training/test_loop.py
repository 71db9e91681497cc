"""The loop: resumed at any update it is the uninterrupted one; reports and checkpoints come when they are due."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.metrics import read_metrics
from lebm_text.run import Run
from lebm_text.text.batching import Batch, BatchPlan, EncodedCorpus
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.training.events import Event
from lebm_text.training.loop import Limits, Position, TrainingLoop
from lebm_text.training.trainer import Trainer

from ..toy import differing, metrics_of, toy_config, toy_corpus, toy_model

CORPUS = toy_corpus([5, 3, 4, 2, 6, 1, 3, 3, 7, 2, 4, 5])
STEPS = 6  # two epochs of three batches
RESTLESS: dict[str, dict[str, Any]] = {
    "model": {"dropout": 0.3},
    "inference": {"persistent": True},
    "training": {"learning_rate_decay": 0.5},
}


def _loop(directory: Path, events: list[Event] | None = None, **training: Any) -> TrainingLoop:
    directory.mkdir(exist_ok=True)
    settings = {"batch_size": 4, "batch_tokens": 100, **training}
    config = toy_config(RESTLESS).merge({"training": settings})
    model = toy_model(config)
    plan = BatchPlan(CORPUS, config.training.batch_size, config.training.batch_tokens, config.training.seed)
    trainer = Trainer(model, config, n_sentences=len(CORPUS), mean_batch_size=plan.mean_batch_size)

    def end_of_epoch(position: Position) -> dict[str, float]:
        return {"weight": float(model.get_parameter("generator.output_bias").detach()[5]), "epochs": position.epoch}

    return TrainingLoop(
        trainer,
        plan,
        Run(directory),
        on_event=(events if events is not None else []).append,
        end_of_epoch=end_of_epoch,
    )


def _result(loop: TrainingLoop, directory: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    trainer = loop.trainer
    assert trainer.memory is not None
    state = {**trainer.model.state_dict(), "memory": trainer.memory, "noise": trainer.noise.get_state()}
    for name, optimizer in trainer.optimizers.items():
        for i, values in optimizer.state_dict()["state"].items():
            state |= {f"{name}.{i}.{key}": value for key, value in values.items()}
    return {name: tensor.clone() for name, tensor in state.items()}, metrics_of(directory)


def _assert_same(one: tuple[dict[str, Tensor], Any], two: tuple[dict[str, Tensor], Any]) -> None:
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    assert differing(one[0], two[0]) == set()


def test_resumed_after_any_update_it_is_the_uninterrupted_run(tmp_path: Path) -> None:
    whole = _loop(tmp_path / "whole")
    assert whole.run(Limits()) == "finished"
    wanted = _result(whole, tmp_path / "whole")
    assert [r["step"] for r in wanted[1]] == [2, 3, 4, 6, 6]
    assert [r["epoch"] for r in wanted[1]] == [0.6667, 1, 1.3333, 2.0, 2]
    for stop in range(STEPS):
        directory = tmp_path / f"stopped-{stop}"
        assert _loop(directory).run(Limits(max_steps=stop)) == "max_steps"
        again = _loop(directory)
        again.restore(load_checkpoint(directory / "checkpoints"))
        assert again.position.step == stop
        assert again.run(Limits()) == "finished"
        _assert_same(_result(again, directory), wanted)


def test_stopped_at_every_update_it_is_still_the_same(tmp_path: Path) -> None:
    whole = _loop(tmp_path / "whole")
    whole.run(Limits())
    directory = tmp_path / "stopped"
    loop = _loop(directory)
    for stop in range(STEPS + 1):
        if stop:
            loop = _loop(directory)
            loop.restore(load_checkpoint(directory / "checkpoints"))
        reason = loop.run(Limits(max_steps=stop))
    assert reason == "finished"  # its last update was done, so was the run
    _assert_same(_result(loop, directory), _result(whole, tmp_path / "whole"))


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    whole = _loop(tmp_path / "whole")
    whole.run(Limits())
    directory = tmp_path / "killed"
    first = _loop(directory, report_every=2)
    first.metrics.append({"step": 2, "nll_token": 1.0})  # a report of the killed process
    first.metrics.close()
    again = _loop(directory)
    again.restore(None)
    again.run(Limits())
    _assert_same(_result(again, directory), _result(whole, tmp_path / "whole"))


def test_report_frequency_does_not_change_what_is_learned(tmp_path: Path) -> None:
    results = {}
    for every in (1, 7):
        loop = _loop(tmp_path / str(every), report_every=every, n_epochs=3)
        loop.run(Limits())
        results[every] = _result(loop, tmp_path / str(every))
    assert [name for name, value in results[1][0].items() if not torch.equal(value, results[7][0][name])] == []
    assert [r["step"] for r in results[1][1] if "nll_token" in r] == list(range(1, 10))
    assert [r["step"] for r in results[7][1] if "nll_token" in r] == [7]
    interval = [r["nll_token"] for r in results[1][1] if "nll_token" in r][:7]
    (seventh,) = (r for r in results[7][1] if "nll_token" in r)
    assert seventh["nll_token"] == pytest.approx(sum(interval) / 7)


def test_reports_hold_what_the_documentation_promises(tmp_path: Path) -> None:
    _loop(tmp_path / "run").run(Limits(max_steps=2))
    (report,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    promised = (
        "step epoch nll_token f_positive f_negative gap norm_positive norm_negative move_positive move_negative "
        "grad_generator grad_prior std_positive std_negative std_ratio curvature curvature_posterior curvature_prior "
        "chain_gap nll_posterior nll_shuffled nll_prior likelihood_weight noise_scale tokens_per_second eta_seconds"
    )
    assert set(report) == set(promised.split())
    assert report["std_ratio"] == pytest.approx(report["std_positive"] / report["std_negative"])
    assert report["curvature"] == max(report["curvature_posterior"], report["curvature_prior"])
    assert report["tokens_per_second"] > 0
    assert report["eta_seconds"] > 0


def test_speed_is_that_since_the_last_report_and_the_time_left_at_the_mean_one(tmp_path: Path) -> None:
    seconds, reports = [0.0], list[dict[str, Any]]()
    loop = _loop(tmp_path / "run", report_every=1)

    def heard(event: Event) -> None:
        if event.kind == "report":
            reports.append(event.data)
            seconds.append(loop.position.seconds)

    loop.on_event = heard
    loop.run(Limits())
    batches = [CORPUS.batch(index) for epoch in (0, 1) for index in loop.plan.epoch(epoch)]
    for i, (report, batch) in enumerate(zip(reports, batches, strict=True), 1):
        assert report["tokens_per_second"] == pytest.approx(batch.n_tokens / (seconds[i] - seconds[i - 1]))
        assert report["eta_seconds"] == pytest.approx((STEPS - i) * seconds[i] / i)


def test_a_report_on_a_single_sentence_leaves_out_what_needs_two(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _loop(tmp_path / "run", batch_size=1, report_every=1).run(Limits(max_steps=1))
    (report,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert not {"std_ratio", "nll_shuffled"} & set(report)
    assert "z is ignored" not in caplog.text


def test_checkpoints_come_when_due_at_the_end_of_epochs_and_on_a_stop(tmp_path: Path) -> None:
    events: list[Event] = []
    _loop(tmp_path / "a", events, checkpoint_every=2).run(Limits(max_steps=5))
    assert [e.data["step"] for e in events if e.kind == "checkpoint"] == [2, 3, 4, 5]
    events = []
    loop = _loop(tmp_path / "b", events, checkpoint_every=3)
    loop.run(Limits())
    # Not a second one before the validation of the epoch that ends there.
    assert [e.data["step"] for e in events if e.kind == "checkpoint"] == [3, 6]
    assert not load_checkpoint(tmp_path / "b" / "checkpoints").state["progress"]["finished"]
    loop.finish()
    assert load_checkpoint(tmp_path / "b" / "checkpoints").state["progress"]["finished"]


def test_every_update_and_epoch_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    loop, told = _loop(tmp_path / "run", events), []
    loop.on_progress = lambda *progress: told.append(progress)
    loop.run(Limits())
    assert told == [("training", step, STEPS) for step in range(1, STEPS + 1)]
    validations = [e.data for e in events if e.kind == "validation"]
    assert [(v["step"], v["epoch"], v["epochs"]) for v in validations] == [(3, 1, 1), (6, 2, 2)]
    assert validations == [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "weight" in r]


def test_warnings_in_force_are_not_repeated_after_a_resume(tmp_path: Path) -> None:
    loop = _loop(tmp_path / "run")
    loop.watchdog.active = {"gap", "spread"}
    loop.run(Limits(max_steps=1))
    again = _loop(tmp_path / "run")
    again.restore(load_checkpoint(tmp_path / "run" / "checkpoints"))
    again.metrics.close()
    assert again.watchdog.active == {"gap", "spread"}


def test_progress_of_a_newer_program_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    _loop(tmp_path / "run").run(Limits(max_steps=1))
    found = load_checkpoint(tmp_path / "run" / "checkpoints")
    found.state["progress"]["mood"] = "good"
    again = _loop(tmp_path / "run")
    again.restore(found)
    again.metrics.close()
    assert again.position.step == 1


@pytest.mark.parametrize(
    ("limits", "step", "reason"),
    [
        (Limits(), 10**9, None),
        (Limits(max_steps=3), 2, None),
        (Limits(max_steps=3), 3, "max_steps"),
        (Limits(max_steps=3), 4, "max_steps"),
        (Limits(deadline=time.monotonic() - 1), 0, "max_minutes"),
        (Limits(deadline=time.monotonic() + 1e6), 0, None),
        (Limits(should_stop=lambda: True), 0, "stopped"),
        (Limits(max_steps=1, should_stop=lambda: True), 5, "stopped"),
    ],
)
def test_limits(limits: Limits, step: int, reason: str | None) -> None:
    assert limits.reached(step) == reason


def test_a_stop_between_updates_is_heard_before_the_next(tmp_path: Path) -> None:
    loop, done = _loop(tmp_path / "run"), []
    loop.on_progress = lambda stage, step, total: done.append(step)
    assert loop.run(Limits(should_stop=lambda: len(done) >= 2)) == "stopped"
    assert load_checkpoint(tmp_path / "run" / "checkpoints").state["progress"]["step"] == 2


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_updates_see_the_batches_of_the_plan_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, steps, epochs = list[list[int]](), list[int](), list[float]()

    def spy(trainer: Trainer, batch: Batch, **options: Any) -> None:
        seen.append(batch.index.tolist())
        steps.append(options["step"])
        epochs.append(options["epoch"])
        update(trainer, batch, **options)

    update = Trainer.update
    monkeypatch.setattr(Trainer, "update", spy)
    _loop(tmp_path / "run").run(Limits(max_steps=2))
    again = _loop(tmp_path / "run")
    again.restore(load_checkpoint(tmp_path / "run" / "checkpoints"))
    again.run(Limits())
    plan = again.plan
    assert seen == [plan.corpus.batch(index).index.tolist() for epoch in (0, 1) for index in plan.epoch(epoch)]
    assert steps == list(range(1, STEPS + 1))
    assert epochs == pytest.approx([step / 3 for step in range(STEPS)])


def test_a_model_that_has_diverged_is_neither_validated_nor_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(trainer: Trainer, batch: Batch, **options: Any) -> None:
        with torch.no_grad():
            trainer.model.get_parameter("generator.output_bias").fill_(torch.nan)
        update(trainer, batch, **options)

    def end_of_epoch(position: Position) -> dict[str, float]:
        ended.append(position.epoch)
        return {}

    update, ended = Trainer.update, list[int]()
    monkeypatch.setattr(Trainer, "update", spoilt)
    loop = _loop(tmp_path / "run", report_every=100)  # nothing is read before the end of the epoch
    loop.end_of_epoch = end_of_epoch
    with pytest.raises(FloatingPointError, match="at step 1 "):
        loop.run(Limits())
    assert ended == []


@pytest.mark.parametrize("reason", ["finished", "max_steps"])
def test_no_thread_is_left(tmp_path: Path, reason: str) -> None:
    assert _loop(tmp_path / "run").run(Limits(max_steps=2 if reason == "max_steps" else None)) == reason
    assert _threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
def test_no_thread_is_left_by_an_update_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(Trainer, "update", fail)
    with pytest.raises(error):
        _loop(tmp_path / "run").run(Limits())
    assert _threads() == []


def test_a_batch_that_cannot_be_made_stops_the_run_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = _loop(tmp_path / "run", checkpoint_every=1)
    third = loop.plan.epoch(0)[2]

    def fail(corpus: EncodedCorpus, index: Any) -> Batch:
        if np.array_equal(index, third):
            raise OSError("the disk is gone")
        return batch(corpus, index)

    batch = EncodedCorpus.batch
    monkeypatch.setattr(EncodedCorpus, "batch", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        loop.run(Limits())
    assert _threads() == []
    assert load_checkpoint(tmp_path / "run" / "checkpoints").state["progress"]["step"] == 2
