"""The gain of each hand-written part: whole updates on real sentences, with one part after the other replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baseline import PlainGenerator, PlainTrainer
from benchmarks.measure import interleaved
from benchmarks.sizes import SMOKE, Sizes
from lebm_text.build import LatentModel
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import LSTMWeights
from lebm_text.models.softmax import OutputLayer
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.corpora import Corpus
from lebm_text.training.data import prepare_text, train_tokenizer
from lebm_text.training.trainer import Trainer

__all__ = ["ablation"]

VOCABULARIES = (1_900, 10_000)
SENTENCES, STEPS = 64, 10  # batch size and steps of the posterior chain of an update


class Ablated(LSTMGenerator):
    """Our generator on packed sentences with `torch.lstm` instead of the scan, and torch's softmax instead of ours.

    Attributes:
        scan, softmax: which of our parts it uses.
    """

    scan = softmax = True

    def weights(self, *, bias_per_row: bool = False) -> LSTMWeights:
        """Return `LSTM.weights` with torch's LSTM on any device; normally only cuDNN on a GPU is used."""
        return replace(super().weights(bias_per_row=bias_per_row), library=not self.scan)

    def output_layer(self) -> OutputLayer:
        """Return the softmax layer, ours or torch's."""
        layer = super().output_layer()
        return layer if self.softmax else _PlainLayer(layer.weight, layer.bias)


@dataclass(frozen=True)
class _PlainLayer(OutputLayer):
    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(hidden, self.weight, self.bias)
        return F.log_softmax(logits, dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)


# Name of a contestant → precision, scan, softmax; `padded` is the plain trainer.
PARTS = {
    "packed": ("fp32", False, False),
    "softmax": ("fp32", False, True),
    "scan": ("fp32", True, True),
    "bf16": ("bf16", True, True),
}


def ablation(corpus: Corpus, sizes: Sizes, repetitions: int) -> list[dict[str, Any]]:
    """Return updates per second of the plain trainer by vocabulary and lengths, and the others' ratios to it.

    Padded `nn.LSTM` in float32; `torch.lstm` on packed sentences; also our softmax; also our scan; also bfloat16.
    """
    rows: list[dict[str, Any]] = []
    for vocab_size in (sizes.vocab_size,) if sizes is SMOKE else VOCABULARIES:
        here = replace(sizes, vocab_size=vocab_size, n_steps=min(STEPS, sizes.n_steps))
        text = here.config().text
        corpus_ids = prepare_text(corpus, text, train_tokenizer(corpus, text), 0).train
        for lengths, batch in _batches(corpus_ids).items():
            seconds = interleaved({name: _update(here, batch, name) for name in ("padded", *PARTS)}, repetitions)
            plain = seconds.pop("padded")
            ratios = {name: plain / value for name, value in seconds.items()}
            rows.append({"vocab_size": vocab_size, "lengths": lengths, "padded": 1 / plain, **ratios})
    return rows


def _batches(corpus: EncodedCorpus) -> dict[str, Batch]:
    """Return randomly drawn sentences, and as many of nearly equal length, like the batches of a training."""
    n, by_length = min(SENTENCES, len(corpus)), np.argsort(corpus.lengths, kind="stable")
    middle = (len(corpus) - n) // 2
    drawn = np.random.default_rng(0).choice(len(corpus), n, replace=False)
    return {"ragged": corpus.batch(drawn), "equal": corpus.batch(by_length[middle : middle + n])}


def _update(sizes: Sizes, batch: Batch, name: str) -> Callable[[], object]:
    precision, scan, softmax = PARTS.get(name, ("fp32", True, True))
    prior, config, n = sizes.prior(), sizes.config(precision), len(batch.lengths)
    generator = sizes.generator(precision, Ablated)
    assert isinstance(generator, Ablated)
    generator.scan, generator.softmax = scan, softmax
    if name == "padded":
        plain = PlainTrainer(PlainGenerator.like(generator), prior, config, through_everything=False)
        return partial(plain.update, batch)
    trainer = Trainer(LatentModel(prior, generator), config, n_sentences=n, mean_batch_size=n)
    return partial(trainer.update, batch, epoch=0.0, step=0)
