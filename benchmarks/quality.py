"""Whether speed costs quality: the plain trainer and ours from the same weights, batches and noise.

python benchmarks/quality.py [--json] [--corpus NAME] [--data-dir DIR] [--updates N] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.baseline import PlainGenerator, PlainTrainer, posterior_chain, prior_chain
from benchmarks.command import add_corpus, basic_parser, positive
from benchmarks.report import Report, table
from benchmarks.sizes import PRECISIONS
from benchmarks.trained import corpus_of
from lebm_text.build import build_inference, build_model
from lebm_text.config import Config
from lebm_text.models.priors import EBMPrior
from lebm_text.presets import preset
from lebm_text.text.batching import Batch, BatchPlan
from lebm_text.text.corpora import Corpus
from lebm_text.training.data import PreparedText, prepare_text, train_tokenizer
from lebm_text.training.trainer import Trainer

BATCH, SENTENCES = 32, 256
SMOKE = {"model": {"embedding_dim": 8, "hidden_dim": 8, "latent_dim": 4}, "inference": {"n_steps": 2}}
COLUMNS = ("training", "first_nll", "last_nll", "largest_difference", "valid_nll_posterior", "valid_nll_prior")


@dataclass(frozen=True)
class Contestant:
    """A learner: an update that returns nats per token, both chains, and log p(x|z) without dropout."""

    update: Callable[[Batch], float]
    posterior: Callable[[Batch, torch.Generator], Tensor]
    prior: Callable[[int, torch.Generator], Tensor]
    log_likelihood: Callable[[Batch, Tensor], Tensor]


def measure(corpus: Corpus, n_updates: int, *, smoke: bool) -> Report:
    """Return per trainer: NLL of its first and last update, largest difference to the plain one's, held-out NLLs.

    All in nats per token. The plain trainer's second LSTM bias is held at 0 and dropout is off, so that all three are
    one algorithm; the differences are rounding errors, which grow over updates.
    """
    config = preset("quick").merge({"model": {"dropout": 0.0}}).merge(SMOKE if smoke else {})
    text = prepare_text(corpus, config.text, train_tokenizer(corpus, config.text), SENTENCES)
    plan = BatchPlan(text.train, BATCH, 1 << 30, seed=1)
    whole = [index for epoch in range(n_updates) for index in plan.epoch(epoch) if len(index) == BATCH]
    batches = [text.train.batch(index) for index in whole[:n_updates]]
    held_out = [text.valid.batch(index) for index in BatchPlan(text.valid, BATCH, 1 << 30, seed=1).epoch(0)]
    rows: list[dict[str, Any]] = []
    curves = []
    for name in ("baseline_autograd", *PRECISIONS):
        contestant = _contestant(name, config, text)
        curves.append([contestant.update(batch) for batch in batches])
        rows.append(
            {
                "training": name,
                "first_nll": curves[-1][0],
                "last_nll": curves[-1][-1],
                "largest_difference": max(abs(a - b) for a, b in zip(curves[-1], curves[0], strict=True)),
                **_held_out(contestant, held_out),
            }
        )
    return {"results": rows, "unit": "nats a token", "corpus": corpus.name, "updates": n_updates, "batch": BATCH}


def _contestant(name: str, config: Config, text: PreparedText) -> Contestant:
    config = config.merge({"training": {"precision": PRECISIONS.get(name, "fp32")}})
    rng = torch.Generator().manual_seed(1)
    model = build_model(config, vocab_size=len(text.tokenizer), bos_id=text.tokenizer.bos_id, rng=rng)
    assert isinstance(model.prior, EBMPrior)
    prior = model.prior
    if name in PRECISIONS:
        trainer = Trainer(model, config, n_sentences=len(text.train), mean_batch_size=BATCH)
        infer = build_inference(config.inference, epoch=0.0)

        def update(batch: Batch) -> float:
            trainer.update(batch, epoch=0.0, step=0)
            return trainer.monitor.flush()["nll_token"]

        return Contestant(
            update,
            lambda batch, rng: infer(batch, prior, model.generator, rng=rng).z,
            prior.sample,
            lambda batch, z: model.generator.likelihood(batch)(z),
        )
    plain = PlainGenerator.like(model.generator)
    plain.lstm.bias_hh_l0.requires_grad_(False)
    chain = config.inference
    return Contestant(
        PlainTrainer(plain, prior, config, through_everything=False).update,
        lambda batch, rng: posterior_chain(plain, prior, batch, chain, through_everything=False, rng=rng),
        lambda n, rng: prior_chain(prior, n, config.prior, rng=rng),
        lambda batch, z: plain.eval().log_likelihood(batch, z),
    )


def _held_out(contestant: Contestant, batches: list[Batch]) -> dict[str, float]:
    """Return −log p(x|z) in nats per token of held-out sentences, z from either chain under the same noise for all."""
    rng = torch.Generator().manual_seed(2)
    totals = {"posterior": 0.0, "prior": 0.0}
    for batch in batches:
        z = {"posterior": contestant.posterior(batch, rng), "prior": contestant.prior(len(batch.lengths), rng)}
        with torch.no_grad():
            for name in totals:
                totals[name] -= float(contestant.log_likelihood(batch, z[name]).sum())
    n_tokens = sum(batch.n_tokens for batch in batches)
    return {f"valid_nll_{name}": total / n_tokens for name, total in totals.items()}


def main() -> None:
    """Parse the options, measure, print."""
    parser = basic_parser("Whether being fast costs quality.")
    add_corpus(parser, "kjv")
    parser.add_argument("--updates", type=positive, default=200, metavar="N")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = corpus_of(options.corpus, options.data_dir, None)
    report = measure(corpus, 3 if options.smoke else options.updates, smoke=options.smoke)
    sys.stdout.write((json.dumps(report) if options.json else table(report["results"], COLUMNS)) + "\n")


if __name__ == "__main__":
    main()
