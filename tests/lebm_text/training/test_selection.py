"""`training.select`: the weights that did best on validation text are published, and training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text.errors import InputError
from lebm_text.metrics import read_metrics
from lebm_text.text.corpora import Corpus
from lebm_text.training import train as module
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.training.events import Event, describe_event
from lebm_text.training.train import train
from lebm_text.weights import load_weights

from ..toy import toy_config, weights_of


def test_lowest_score_is_published_and_training_goes_on(corpus: Corpus, tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0, 5.0])
    settings = {"select": "valid_kn5", "n_epochs": 4}
    weights: list[dict[str, torch.Tensor]] = []

    def remember(event: Event) -> None:
        if event.kind == "checkpoint":
            found = load_checkpoint(tmp_path / "run" / "checkpoints")
            saved = found.state["trainer"]["model"]
            weights.append({name: found.tensors[place["__tensor__"]] for name, place in saved.items()})

    config = toy_config({"training": {**settings, "checkpoint_every": 1000}})
    judged: list[tuple[Sequence[str], Sequence[str], Sequence[str]]] = []

    def score(*texts: Sequence[str]) -> float:
        judged.append(texts)  # type: ignore[arg-type]
        return next(scores)

    train(corpus, out=tmp_path / "run", config=config, device="cpu", on_event=remember, sample_score=score)
    published, _ = load_weights(tmp_path / "run" / "model.safetensors")
    second, last = weights[1], weights[-1]
    assert all(torch.equal(published[name], second[name]) for name in second)
    assert any(not torch.equal(published[name], last[name]) for name in last)
    values = [r["valid_kn5"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "valid_kn5" in r]
    assert values == [3.0, 1.0, 2.0, 5.0]
    samples, real, vocabulary = judged[0]
    assert len(samples) == 16  # as many as were trained on
    assert len(real) == 6
    assert set(" ".join(real).split()) <= set(vocabulary)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None, "2.5", torch.tensor(2.5)])
def test_a_score_that_is_no_finite_number_stops_and_the_epoch_is_kept(
    corpus: Corpus, tmp_path: Path, wrong: Any
) -> None:
    scores = iter([3.0, wrong, 1.0, 2.0])
    config = toy_config({"training": {"select": "valid_kn5", "n_epochs": 3, "checkpoint_every": 1000}})
    options: dict[str, Any] = {"device": "cpu", "sample_score": lambda *_: next(scores)}
    with pytest.raises(InputError, match=r"^what sample_score returns must be a finite number, got "):
        train(corpus, out=tmp_path / "run", config=config, **options)
    found = load_checkpoint(tmp_path / "run" / "checkpoints").state["progress"]
    assert (found["epoch"], found["batch"], found["best"], found["finished"]) == (1, found["step"] / 2, 3.0, False)
    run = train(out=tmp_path / "run", resume=True, **options)
    assert [r["valid_kn5"] for r in run.metrics() if "valid_kn5" in r] == [3.0, 1.0, 2.0]
    scores = iter([3.0, 1.0, 2.0])
    whole = train(corpus, out=tmp_path / "whole", config=config, **options)
    assert run.weights_sha256 == whole.weights_sha256


def test_the_judge_is_kn5_unless_another_is_given(corpus: Corpus, tmp_path: Path) -> None:
    config = toy_config({"training": {"select": "valid_kn5"}})
    run = train(corpus, out=tmp_path / "run", config=config, device="cpu")
    scores = [r["valid_kn5"] for r in run.metrics() if "valid_kn5" in r]
    assert len(scores) == 2
    assert all(score > 1 for score in scores)


LANGUAGE_MODEL = {"model": {"latent_dim": 0}}
ENCODER = {"model": {"prior": "gaussian"}, "inference": {"kind": "amortized"}}


def _scored(monkeypatch: pytest.MonkeyPatch, name: str, *values: float) -> list[dict[str, torch.Tensor]]:
    """Validations that give these values of a figure in turn; the weights at each."""
    weights, scores = [], iter(values)

    def validate(model: torch.nn.Module, *_: Any, **__: Any) -> dict[str, float]:
        weights.append(weights_of(model))
        return {name: next(scores)}

    monkeypatch.setattr(module, "validate", validate)
    return weights


def _train(corpus: Corpus, out: Path, changes: dict[str, Any], **more: Any) -> tuple[dict[str, torch.Tensor], Event]:
    """The published weights, and how the training ended."""
    events: list[Event] = []
    config = toy_config(changes | {"training": {"n_epochs": 4, "checkpoint_every": 1000, "select": "valid"}})
    given = {"resume": True} if more.pop("resume", False) else {"config": config}
    train(None if "resume" in given else corpus, out=out, device="cpu", on_event=events.append, **given, **more)
    return load_weights(out / "model.safetensors")[0], events[-1]


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize(
    ("changes", "name"), [(LANGUAGE_MODEL, "valid_ppl"), (ENCODER, "valid_ppl_bound"), ({}, "valid_ppl_prior")]
)
def test_a_perplexity_that_bounds_the_models_own_selects(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], name: str
) -> None:
    """One with z from the prior says how much z carries, not how well the text is modelled."""
    weights = _scored(monkeypatch, name, 3.0, 1.0, 2.0, 5.0)
    published, end = _train(corpus, tmp_path / "run", changes)
    by = None if name == "valid_ppl_prior" else name
    assert _same(published, weights[3 if by is None else 1]) and not _same(weights[3], weights[1])
    assert end.data["best"] == {name: {"epoch": 2, "value": 1.0}}
    assert end.data["published_by"] == by


def test_the_default_selects_and_a_language_model_is_scored_by_its_own_perplexity(
    corpus: Corpus, tmp_path: Path
) -> None:
    assert toy_config().training.select == "valid"
    _, end = _train(corpus, tmp_path / "run", LANGUAGE_MODEL)
    assert end.data["published_by"] == "valid_ppl"


@pytest.mark.parametrize(("score", "last"), [(0.5, True), (2.0, False)])
def test_weights_of_a_stop_within_an_epoch_are_compared_and_the_run_goes_on_as_if_they_were_not(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: float, last: bool
) -> None:
    weights = _scored(monkeypatch, "valid_ppl", 1.0, score, 3.0, 2.0, 4.0)
    published, end = _train(corpus, tmp_path / "run", LANGUAGE_MODEL, max_steps=3)
    assert end.data["step"] == 3  # of two an epoch
    assert _same(published, weights[1 if last else 0])
    published, end = _train(corpus, tmp_path / "run", LANGUAGE_MODEL, resume=True)
    assert end.data["reason"] == "finished"
    assert _same(published, weights[0])
    assert end.data["best"] == {"valid_ppl": {"epoch": 1, "value": 1.0}}


def test_a_run_that_publishes_its_last_weights_goes_on_doing_so(corpus: Corpus, tmp_path: Path) -> None:
    """As those of before there was another default: a preset does not ask for one, `--set` does."""
    last = toy_config({"training": {"select": "last"}})
    train(corpus, out=tmp_path / "run", config=last, device="cpu", max_steps=1)
    with pytest.raises(InputError, match=r"training\.select is last, not valid"):
        train(out=tmp_path / "run", config=last, overrides=["training.select=valid"], resume=True)
    run = train(out=tmp_path / "run", config=toy_config(), device="cpu", resume=True)
    assert run.config.training.select == "last"
    assert run.progress()["finished"]


def test_a_run_whose_figures_are_damaged_goes_on_without_them(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that it learns or publishes depends on them, and it says no epoch that it cannot know."""
    weights = _scored(monkeypatch, "valid_ppl", 3.0, 1.0, 2.0, 5.0, 4.0)
    _train(corpus, tmp_path / "run", LANGUAGE_MODEL, max_steps=4)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"3.0", b"3.1"))
    with pytest.raises(InputError, match=r"metrics\.jsonl, line .* is damaged: .*; give it another name"):
        _train(corpus, tmp_path / "run", LANGUAGE_MODEL, resume=True)
    path.rename(path.with_suffix(".damaged"))
    published, end = _train(corpus, tmp_path / "run", LANGUAGE_MODEL, resume=True, max_steps=5)
    assert _same(published, weights[1])
    published, end = _train(corpus, tmp_path / "run", LANGUAGE_MODEL, resume=True)
    assert _same(published, weights[1])
    assert (end.data["best"], end.data["published_by"]) == ({}, "valid_ppl")
    assert not any("published" in line for line in describe_event(end))
