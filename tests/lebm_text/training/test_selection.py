"""`training.select = valid_kn5`: the weights that a judge liked best are published, and training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lebm_text.text.corpora import Corpus
from lebm_text.training.checkpoint import load_checkpoint, load_weights
from lebm_text.training.events import Event, read_metrics
from lebm_text.training.train import train

from ..toy import toy_config


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


def test_the_judge_is_kn5_unless_another_is_given(corpus: Corpus, tmp_path: Path) -> None:
    config = toy_config({"training": {"select": "valid_kn5"}})
    run = train(corpus, out=tmp_path / "run", config=config, device="cpu")
    scores = [r["valid_kn5"] for r in run.metrics() if "valid_kn5" in r]
    assert len(scores) == 2
    assert all(score > 1 for score in scores)
