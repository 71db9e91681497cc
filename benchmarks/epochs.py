"""Minutes of an epoch of a preset on real text, and their breakdown, from a few of its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.baseline import PlainGenerator, PlainTrainer
from benchmarks.measure import interleaved
from lebm_text.build import build_model
from lebm_text.config import Config
from lebm_text.models.lstm import resolve_precision
from lebm_text.models.priors import EBMPrior
from lebm_text.presets import preset
from lebm_text.text.batching import Batch, BatchPlan
from lebm_text.text.corpora import Corpus
from lebm_text.training.data import prepare_text, train_tokenizer
from lebm_text.training.trainer import Trainer

__all__ = ["epoch_of"]

N_BATCHES = 3  # representing an epoch: short, medium and long sentences
CPU = torch.device("cpu")
SMOKE = {"model": {"embedding_dim": 8, "hidden_dim": 8, "latent_dim": 4}, "inference": {"n_steps": 2}}


def epoch_of(name: str, corpus: Corpus, *, repetitions: int, smoke: bool) -> dict[str, Any]:
    """Measure one epoch of the preset on the corpus.

    Returns:
        `minutes`, `baseline_minutes`, and the shares of the former spent on the posterior chains, the prior chains
        and the rest (update of the weights). Batches are evenly spaced among those of an epoch,
        from short to long; their seconds per token give those of the epoch.
    """
    precision = resolve_precision("auto", CPU)
    config = preset(name).merge({"training": {"precision": precision}}).merge(SMOKE if smoke else {})
    text = prepare_text(corpus, config.text, train_tokenizer(corpus, config.text), 0)
    settings = config.training
    plan = BatchPlan(text.train, settings.batch_size, settings.batch_tokens, settings.seed)
    batches = sorted((text.train.batch(index) for index in plan.epoch(0)), key=lambda batch: batch.tokens.shape[1])
    places = np.linspace(0, len(batches), 2 * N_BATCHES + 1).astype(int)[1::2]
    chosen = [batches[min(i, len(batches) - 1)] for i in places]
    parts = _parts(config, len(text.tokenizer), text.tokenizer.bos_id, len(text.train), plan.mean_batch_size)
    seconds = dict.fromkeys(parts, 0.0)
    for batch in chosen:
        contest = {part: _on(batch, run) for part, run in parts.items()}
        for part, value in interleaved(contest, repetitions).items():
            seconds[part] += value
    per_token = len(text.train.tokens) / sum(batch.n_tokens for batch in chosen)
    posterior, prior = seconds["posterior"] / seconds["update"], seconds["prior"] / seconds["update"]
    return {
        "preset": name,
        "corpus": corpus.name,
        "precision": precision,
        "tokens": len(text.train.tokens),
        "batches": len(batches),
        "minutes": seconds["update"] * per_token / 60,
        "baseline_minutes": seconds["baseline"] * per_token / 60,
        "ratio": seconds["baseline"] / seconds["update"],
        "posterior_share": posterior,
        "prior_share": prior,
        "rest_share": 1 - posterior - prior,
    }


def _on(batch: Batch, run: Callable[[Batch], object]) -> Callable[[], object]:
    return lambda: run(batch)


def _parts(
    config: Config, vocab_size: int, bos_id: int, n_sentences: int, mean_batch_size: float
) -> dict[str, Callable[[Batch], object]]:
    """Return what is timed for a batch: our update, its two chains alone, and the plain update."""
    model = build_model(config, vocab_size=vocab_size, bos_id=bos_id, rng=torch.Generator().manual_seed(0))
    assert isinstance(model.prior, EBMPrior)
    trainer = Trainer(model, config, n_sentences=n_sentences, mean_batch_size=mean_batch_size)
    plain_trainer = PlainTrainer(PlainGenerator.like(model.generator), model.prior, config)
    rng = torch.Generator().manual_seed(0)
    infer = trainer.inference(0.0)
    return {
        "update": lambda batch: trainer.update(batch, epoch=0.0, step=0),
        "posterior": lambda batch: infer(batch, model.prior, model.generator, rng=rng),
        "prior": lambda batch: model.prior.sample(len(batch.lengths), rng),
        "baseline": plain_trainer.update,
    }
