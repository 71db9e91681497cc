"""LSTM judge: a trained `LSTMNetwork` that scores sentences; `lstm_training.train_lstm` makes one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lebm_text.models.packing import Packing
from lebm_text.text.batching import BatchPlan, EncodedCorpus

from .base import SentenceScores
from .lstm_network import END, LSTMNetwork, OutputVocabulary

__all__ = ["LSTMJudge", "TrainingReport", "score_text"]

# Of the batches that are scored; they change the speed alone.
_BATCH_SIZE, _BATCH_TOKENS = 512, 8192


@dataclass(frozen=True)
class TrainingReport:
    """How a judge came about: `seconds` are those of its training, `cached` whether that was at an earlier time."""

    n_epochs: int
    best_epoch: int
    seconds: float
    valid_ppl: float
    precision: str
    cached: bool = False


class LSTMJudge:
    """An LSTM language model of sentences.

    Args:
        network: trained.
        vocabulary: its types.
        seen: (V,) which of them its training text has.
        report: of its training.
    """

    def __init__(
        self, network: LSTMNetwork, vocabulary: OutputVocabulary, seen: Tensor, report: TrainingReport
    ) -> None:
        self.network, self.report = network, report
        self._vocabulary, self._seen = vocabulary, seen

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """As `LanguageModel.score`; words outside the vocabulary are read as `<unk>`. Sums in double precision."""
        return score_text(self.network, self._vocabulary.encode(sentences), self._seen)


@torch.no_grad()
def score_text(network: LSTMNetwork, text: EncodedCorpus, seen: Tensor | None = None) -> SentenceScores:
    """Scores of an encoded text; the types outside `seen` (V,) count as out of vocabulary, by default none."""
    device = network.embedding.device
    nll, nll_oov, nll_eos = np.zeros((3, len(text)))
    n_oov = np.zeros(len(text), dtype=np.int64)
    unseen = torch.zeros(network.n_types, dtype=torch.bool) if seen is None else ~seen
    unseen = unseen.to(device)
    for index in BatchPlan(text, _BATCH_SIZE, _BATCH_TOKENS, seed=0).epoch(0):
        batch = text.batch(index).to(device)
        packing = Packing.of(batch.lengths, device)
        token_nll = -network.log_probs(batch, packing).double()
        targets = packing.pack(batch.tokens)
        oov, rows = unseen[targets], batch.index.numpy()
        nll[rows] = packing.sum_by_row(token_nll).cpu().numpy()
        nll_oov[rows] = packing.sum_by_row(token_nll * oov).cpu().numpy()
        nll_eos[rows] = packing.sum_by_row(token_nll * (targets == END)).cpu().numpy()
        n_oov[rows] = packing.sum_by_row(oov.long()).cpu().numpy()
    return SentenceScores(nll=nll, n_tokens=text.lengths, n_oov=n_oov, nll_oov=nll_oov, nll_eos=nll_eos)
