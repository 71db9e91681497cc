"""A trained model and real sentences: random weights give flat distributions, on which exactness means little."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.sizes import Sizes
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.models.generator import LSTMGenerator
from lebm_text.store import read_json
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.training.train import train

__all__ = ["Trained", "corpus_of", "run_directory", "trained_model"]

BATCH_SIZE = 32


@dataclass(frozen=True)
class Trained:
    """A model in float32, real sentences in batches of similar lengths, and z of each batch from its chain."""

    model: LatentEBM
    work: list[tuple[Batch, Tensor]]
    updates: int

    def describe(self) -> dict[str, Any]:
        """Return a description for the report."""
        generator = self.model.model.generator
        assert isinstance(generator, LSTMGenerator)
        return {
            "updates": self.updates,
            "sentences": sum(len(z) for _, z in self.work),
            "vocab_size": generator.embedding.shape[0],
            "hidden_dim": generator.hidden_dim,
        }


def corpus_of(name: str | None, data_dir: Path | None, run: Path | None) -> Corpus:
    """Return the named corpus, else that of the run, else the King James text; end with one line if there is none."""
    try:
        if name is None:
            name = "kjv" if run is None else str(read_json(run / "env.json")["corpus"]["name"])
        return find_corpus(name, data_dir=data_dir)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None


@contextlib.contextmanager
def run_directory(run: Path | None, corpus: Corpus, sizes: Sizes) -> Iterator[Path]:
    """Provide `run`, or a temporary directory with a model trained for `sizes.updates` updates."""
    if run is not None:
        yield run
        return
    with tempfile.TemporaryDirectory() as scratch:
        once = {
            "inference": {"n_steps": min(4, sizes.n_steps)},
            "training": {
                "n_epochs": sizes.updates,
                "batch_size": BATCH_SIZE,
                "precision": "auto",
                "n_threads": torch.get_num_threads(),
                "report_every": sizes.updates,
                "checkpoint_every": sizes.updates,
                "validation_sentences": 0,
            },
        }
        out = Path(scratch) / "run"
        config = sizes.config().merge(once)
        train(corpus, out=out, config=config, device="cpu", max_steps=sizes.updates)
        yield out


def trained_model(run: Path, corpus: Corpus, sizes: Sizes) -> Trained:
    """Return the model of a run and `sizes.sentences` evenly spaced sentences of the validation text."""
    model = LatentEBM.from_pretrained(run, device="cpu", precision="fp32")
    longest = min(sizes.max_length, model.config.text.max_length)
    sentences = [s for s in corpus.splits["valid"].sentences() if len(model.tokenizer.encode(s)) <= longest]
    places = np.unique(np.linspace(0, len(sentences) - 1, sizes.sentences).astype(int))
    chosen = [sentences[i] for i in places]
    z = model.infer(chosen, seed=1)
    work = [(batch, z[batch.index]) for batch in _batches(model, chosen)]
    return Trained(model, work, int(load_checkpoint(run / "checkpoints").state["progress"]["step"]))


def _batches(model: LatentEBM, sentences: Sequence[str]) -> list[Batch]:
    corpus = EncodedCorpus(*model.tokenizer.encode_many(sentences), pad_id=model.tokenizer.pad_id)
    order = np.argsort(-corpus.lengths, kind="stable")
    return [corpus.batch(order[i : i + BATCH_SIZE]) for i in range(0, len(order), BATCH_SIZE)]
