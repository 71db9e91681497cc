"""Learning rates that fall, and runs that end where nothing gets better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lebm_text.build import falling
from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.text.corpora import Corpus
from lebm_text.training import train as module
from lebm_text.training.events import Event
from lebm_text.training.train import train
from lebm_text.training.trainer import Trainer

from ..toy import differing, toy_batch, toy_config, toy_trainer, weights_of


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        *(("constant", progress, 1.0) for progress in (0.0, 0.6, 1.0)),
        *((schedule, progress, 1.0) for schedule in ("linear", "cosine") for progress in (0.0, 0.59, 0.6)),
        ("linear", 0.7, 0.75),
        ("linear", 0.9, 0.25),
        ("cosine", 0.7, (1 + math.cos(math.pi / 4)) / 2),
        ("cosine", 0.8, 0.5),
        *((schedule, progress, 0.0) for schedule in ("linear", "cosine") for progress in (1.0, 1.1)),
    ],
)
def test_factors_are_the_formulas(schedule: str, progress: float, factor: float) -> None:
    assert falling(schedule, 0.6, progress) == pytest.approx(factor, abs=1e-15)


def _trainer(**training: Any) -> Trainer:
    config = toy_config({"inference": {"kind": "amortized"}, "training": {"n_epochs": 4, **training}})
    return toy_trainer(config)


def test_all_rates_are_the_decayed_ones_times_the_factor() -> None:
    """The first step of Adam has the length of the learning rate, whatever the gradient."""
    trainer = _trainer(schedule="linear", schedule_start=0.5, learning_rate_decay=0.5, prior_learning_rate=0.04)
    for _ in range(3):
        trainer.end_epoch()
    before = weights_of(trainer.model)
    trainer.update(toy_batch([6, 4, 4, 1]), epoch=3.2, step=1)
    moved = dict.fromkeys(("generator", "encoder", "prior"), 0.0)
    for name, value in trainer.model.state_dict().items():
        part = name.partition(".")[0]
        moved[part] = max(moved[part], float((value - before[name]).abs().max()))
    factor = 0.5**3 * 0.4
    wanted = {"generator": 0.01 * factor, "encoder": 0.01 * factor, "prior": 0.04 * factor}
    assert moved == pytest.approx(wanted, rel=1e-3)
    assert trainer.learning_rate(3.2) == pytest.approx(0.01 * factor)
    assert [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers.values()] == pytest.approx(
        [0.01 / 8, 0.01 / 8, 0.04 / 8]
    )


def test_a_constant_schedule_is_none_and_before_its_start_none_falls() -> None:
    trainers = [_trainer(), _trainer(schedule="cosine"), _trainer(schedule="cosine", schedule_start=0.1)]
    for trainer in trainers:
        for step, epoch in enumerate((0.0, 1.9, 2.0), 1):
            trainer.update(toy_batch([6, 4, 4, 1]), epoch=epoch, step=step)
    one, same, other = (weights_of(trainer.model) for trainer in trainers)
    assert differing(one, same) == set()
    assert differing(one, other)


def test_a_run_with_falling_rates_goes_on_exactly_and_says_them(corpus: Corpus, tmp_path: Path) -> None:
    settings = {"schedule": "linear", "schedule_start": 0.25, "report_every": 1, "learning_rate_decay": 0.5}
    config = toy_config({"training": settings})
    run = train(corpus, out=tmp_path / "whole", config=config, device="cpu")
    rates = [record["learning_rate"] for record in run.metrics() if "learning_rate" in record]
    # Four updates of two epochs; each report has the rate of the next one.
    assert rates == pytest.approx([0.01, 0.01 * 2 / 3, 0.005 / 3, 0.0])
    train(corpus, out=tmp_path / "run", config=config, device="cpu", max_steps=1)
    train(out=tmp_path / "run", resume=True, device="cpu", max_steps=3)
    assert train(out=tmp_path / "run", resume=True, device="cpu").weights_sha256 == run.weights_sha256
    plain = train(corpus, out=tmp_path / "plain", config=toy_config({"training": {"report_every": 1}}), device="cpu")
    assert not [record for record in plain.metrics() if "learning_rate" in record]


LANGUAGE_MODEL = {"model": {"latent_dim": 0}}


def _scored(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    scores = iter(values)
    monkeypatch.setattr(module, "validate", lambda *_, **__: {"valid_ppl": next(scores)})


@pytest.mark.parametrize(
    ("patience", "scores", "n_epochs", "reason"),
    [
        (1, (3.0, 2.0, 2.0), 3, "patience"),  # no better is enough
        (2, (3.0, 4.0, 2.0, 5.0, 2.5), 5, "patience"),  # in a row
        (2, (3.0, 4.0, 2.0, 5.0, 1.0, 6.0), 6, "finished"),
    ],
)
def test_a_run_is_finished_where_nothing_gets_better(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, scores: tuple[float, ...],
    n_epochs: int, reason: str,
) -> None:  # fmt: skip
    """Resumed after each epoch, too: how long one has waited is in the checkpoint."""
    _scored(monkeypatch, *scores)
    config = toy_config({**LANGUAGE_MODEL, "training": {"n_epochs": 6, "patience": patience, "select": "valid"}})
    events: list[Event] = []
    run = train(corpus, out=tmp_path / "run", config=config, device="cpu", max_steps=2, on_event=events.append)
    for epoch in range(2, n_epochs + 1):
        assert not run.progress()["finished"]
        train(out=run.path, resume=True, device="cpu", max_steps=2 * epoch, on_event=events.append)
    if not run.progress()["finished"]:
        train(out=run.path, resume=True, device="cpu", on_event=events.append)
    assert (run.progress()["finished"], run.progress()["epoch"]) == (True, n_epochs)
    assert events[-1].data["reason"] == reason
    assert events[-1].data["published_by"] == "valid_ppl"


def test_epochs_as_a_language_model_try_no_patience(corpus: Corpus, tmp_path: Path) -> None:
    settings = {"n_epochs": 5, "init": "lm", "init_epochs": 3, "patience": 1, "select": "valid_kn5"}
    scores = iter([1.0, 2.0])
    config = toy_config({"training": settings})
    run = train(corpus, out=tmp_path / "run", config=config, device="cpu", sample_score=lambda *_: next(scores))
    assert run.progress()["epoch"] == 5


def test_a_judge_of_samples_without_held_out_text_is_refused_before_anything_is_trained(
    corpus: Corpus, tmp_path: Path
) -> None:
    config = toy_config({"training": {"select": "valid_kn5", "validation_sentences": 0}})
    with pytest.raises(InputError, match="valid_kn5 needs validation sentences"):
        train(corpus, out=tmp_path / "run", config=config, device="cpu", sample_score=lambda *_: 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "patience has nothing to look at"),
        ({"inference": {"kind": "amortized"}}, "patience has nothing to look at"),
        ({**LANGUAGE_MODEL, "training": {"validation_sentences": 0}}, r"patience needs validation sentences"),
        ({"training": {"validation_sentences": 0}}, r"there are none: see training.validation_sentences"),
    ],
)
def test_patience_without_a_figure_is_refused(
    corpus: Corpus, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """With z from a chain, or log Z unknown, no epoch has one, unless samples are judged."""
    config = toy_config(changes).merge({"training": {"patience": 2}})
    with pytest.raises(InputError, match=message) as error:
        train(corpus, out=tmp_path / "run", config=config, device="cpu")
    assert "\n" not in str(error.value)
    assert not Run(tmp_path / "run").path.exists()


def test_patience_with_a_bound_is_not(corpus: Corpus, tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {
        "model": {"prior": "gaussian"},
        "inference": {"kind": "amortized"},
        "training": {"patience": 2},
    }
    train(corpus, out=tmp_path / "run", config=toy_config(changes), device="cpu", max_steps=1)
