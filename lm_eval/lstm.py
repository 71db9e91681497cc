r"""The LSTM judge: sentence by sentence from a zero state, over a closed vocabulary; `lstm_training` trains one.

    x_0 = </s>,  h_0 = c_0 = 0,  h_t = LSTM(embedding(x_{t-1}), h_{t-1});  log p(x) = Σ_t log p(x_t | h_t),  x_T = </s>

Two-level softmax (Goodman, 2001; Grave et al., 2017, without their smaller dimensions): the words of the shortlist S
and "a rare word" share a first softmax, the rare words a second one, both over rows of one matrix:

    log p(w | h) = log p₁(w | h)  for w in S,   log p₁(rare | h) + log p₂(w | h)  otherwise

The distribution is exact, and with 2,000 of PTB's 10,000 types in S it takes a third of the multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.models.lstm import LSTM, compute_dtype
from lebm_text.models.packing import Packing
from lebm_text.models.softmax import OutputLayer
from lebm_text.text.batching import Batch, BatchPlan, EncodedCorpus, PaddedBatch
from lebm_text.torch_state import own_state

from .counts import BOS, EOS, UNK, UNKNOWN_WORD, IntArray, WordIds, encode
from .judges import LSTMRecipe, TrainingReport
from .perplexity import SentenceScores

__all__ = ["END", "LSTMJudge", "LSTMNetwork", "OutputVocabulary", "in_pieces", "score_text"]

END = 0  # id of `</s>`, which every sentence ends with and is started from
_UNKNOWN = 1
_EMBEDDING_RANGE = 0.1
_BATCH_SIZE, _BATCH_TOKENS = 512, 8192  # of the batches that are scored; they affect only the speed
LONGEST = 4096  # tokens that are read at a time, which bounds the memory; see `in_pieces`


class OutputVocabulary:
    """The types a judge predicts: `</s>`, the unknown word, then the words of a closed vocabulary in its order."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        """`vocabulary` should list frequent words first: they make up the shortlist."""
        words = dict.fromkeys(vocabulary)
        for unknown in ("<unk>", UNKNOWN_WORD):
            words.pop(unknown, None)
        self._words = ("<unk>", "<s>", "</s>", UNKNOWN_WORD, *words)  # as `counts` numbers them

    def __len__(self) -> int:
        return len(self._words) - EOS

    @property
    def types(self) -> tuple[str, ...]:
        """All types, by id."""
        return self._words[EOS:]

    def encode(self, sentences: Iterable[str]) -> EncodedCorpus:
        """Return the ids of the sentences, each closed by `END`; other words become the unknown word.

        Raises InputError as `counts.encode` does.
        """
        tokens = encode(sentences, WordIds(self._words, growing=False))
        tokens = tokens[tokens != BOS]
        ends = np.flatnonzero(tokens == EOS) + 1
        ids = np.where(tokens == UNK, _UNKNOWN, tokens - EOS).astype(np.int32)
        return EncodedCorpus(ids, np.concatenate([[0], ends]).astype(np.int64), END)


class LSTMNetwork(LSTM):
    """p(x) of sentences of `OutputVocabulary` ids.

    Args:
        n_types: number of types, V.
        recipe: sizes, dropout and the shortlist.
        precision: "fp32" or "bf16", of the operands of matrix products.
        rng: draws the initial weights.
    """

    def __init__(self, n_types: int, recipe: LSTMRecipe, precision: str, *, rng: torch.Generator) -> None:
        n_first = min(recipe.shortlist or n_types, n_types)
        n_rows = n_types + (n_types > n_first)  # row n_first stands for "a rare word"; the rare words' rows follow it
        width = recipe.hidden_dim
        super().__init__(
            n_rows,
            embedding_dim=recipe.embedding_dim,
            hidden_dim=width,
            compute_dtype=compute_dtype(precision),
        )
        self.n_types, self.n_first, self.recipe = n_types, n_first, recipe
        self.output_weight = None if recipe.tied else nn.Parameter(torch.empty(n_rows, width))
        self.output_bias = nn.Parameter(torch.zeros(n_rows))
        with torch.no_grad():
            for table in (self.embedding, self.output_weight):
                if table is not None:
                    table.uniform_(-_EMBEDDING_RANGE, _EMBEDDING_RANGE, generator=rng)
            for weight in (self.token_weight, self.recurrent_weight):
                weight.uniform_(-(width**-0.5), width**-0.5, generator=rng)
            self.gate_bias.zero_()[width : 2 * width] = 1.0  # forget gates are open at first

    @torch.no_grad()
    def start_from(self, counts: IntArray) -> None:
        """Set the output bias to the unigram distribution of a text, (V,) counts plus one."""
        smoothed = counts + 1
        n, log_probs = self.n_first, np.log(smoothed / smoothed.sum())
        if n < len(counts):
            rare = np.log(smoothed[n:].sum() / smoothed.sum())
            log_probs = np.concatenate([log_probs[:n], [rare], log_probs[n:] - rare])
        self.output_bias.copy_(torch.from_numpy(log_probs))

    def log_probs(self, batch: Batch, packing: Packing, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p of every token in nats, (N,) packed.

        Args:
            batch: B sentences; on the CPU, else the host waits for the device.
            packing: of the same sentences, on the device of the parameters.
            rng: draws the dropout masks; without it there is no dropout.
        """
        masks = () if rng is None else self.dropout_masks(len(packing.row), rng)
        n_rare = int((batch.tokens >= self.n_first).sum())
        return self._log_probs(batch.to(self.device).tokens, packing, masks, n_rare)

    def padded_nll(self, batch: PaddedBatch, masks: Sequence[Tensor] = ()) -> Tensor:
        """Return -log p of all sentences together, in nats; the host reads no tensor.

        Args:
            batch: R sentences in L columns, on the device of the parameters.
            masks: as `dropout_masks(R · L, rng)` returns them, time-major; without them there is no dropout.
        """
        packing = Packing.padded(batch.lengths, batch.tokens.shape[1])
        return -packing.sum_by_row(self._log_probs(batch.tokens, packing, masks)).sum()

    def dropout_masks(self, n_tokens: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what dropout keeps of the embeddings, (N, E), and of the LSTM's outputs, (N, H), drawn from `rng`."""
        recipe = self.recipe
        sizes = (recipe.embedding_dim, recipe.input_dropout), (recipe.hidden_dim, recipe.output_dropout)
        before, after = (_mask(n_tokens, width, rate, rng) for width, rate in sizes)
        return before, after

    def _log_probs(
        self, tokens: Tensor, packing: Packing, masks: Sequence[Tensor], n_rare: int | None = None
    ) -> Tensor:
        weights, (before, after) = self.weights(bias_per_row=True), masks or (None, None)
        ids = packing.pack(F.pad(tokens[:, :-1], (1, 0), value=END))
        embedded = _drop(F.embedding(ids + (ids >= self.n_first), self.embedding), self.recipe.input_dropout, before)
        hidden = _drop(weights.scan(weights.prepare(embedded), packing), self.recipe.output_dropout, after)
        return self._target_log_probs(hidden, packing.pack(tokens), n_rare)

    def _target_log_probs(self, hidden: Tensor, targets: Tensor, n_rare: int | None) -> Tensor:
        """Return log p of the targets, `n_rare` of which are rare words; None if the host does not know."""
        table, n = self.embedding if self.output_weight is None else self.output_weight, self.n_first
        # Split, not sliced: each slice would fill a gradient of the whole table with zeros first.
        sizes = [min(n + 1, len(table)), max(0, len(table) - n - 1)]
        parts = (whole.to(self.operand_dtype).split_with_sizes(sizes) for whole in (table, self.output_bias))
        first, second = (OutputLayer(*part) for part in zip(*parts, strict=True))
        log_probs = first.log_probs(hidden, targets.clamp(max=n))
        if n_rare == 0 or n == self.n_types:
            return log_probs
        if n_rare is None:  # the second level for all, of which it counts for some
            within = second.log_probs(hidden, (targets - n).clamp(min=0))
            return log_probs + within.masked_fill(targets < n, 0.0)
        rare = (targets < n).byte().argsort(stable=True)[:n_rare]  # not `nonzero`, whose size the host waits for
        return log_probs.index_add(0, rare, second.log_probs(hidden[rare], targets[rare] - n))


def _mask(n_rows: int, width: int, rate: float, rng: torch.Generator) -> Tensor:
    """Return what dropout keeps, (n, width), the rate rounded to 1/256; on the device of `rng`.

    torch's own dropout takes no generator and would tie a resumed training to global state; `bernoulli_` takes one but
    needs five times as long as bytes cut from 64-bit numbers.
    """
    n = n_rows * width
    if rate == 0:
        return torch.ones(n_rows, width, dtype=torch.bool, device=rng.device)
    numbers = torch.empty(-(-n // 8), dtype=torch.int64, device=rng.device).random_(-(2**63), None, generator=rng)
    return numbers.view(torch.uint8)[:n].view(n_rows, width) < _n_kept(rate)


def _drop(values: Tensor, rate: float, mask: Tensor | None) -> Tensor:
    return values if mask is None else values * (mask * (256 / _n_kept(rate))).to(values.dtype)


def _n_kept(rate: float) -> int:
    """Return how many of 256 values dropout keeps."""
    return round(256 * (1 - rate))


@dataclass(frozen=True)
class LSTMJudge:
    """An LSTM language model of sentences.

    Attributes:
        network: the trained network.
        vocabulary: types that it predicts.
        seen: (V,) which of them occur in its training text.
        report: on its training.
    """

    network: LSTMNetwork
    vocabulary: OutputVocabulary
    seen: Tensor
    report: TrainingReport

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score as `LanguageModel.score` does, in double precision; words outside the vocabulary become `<unk>`."""
        return score_text(self.network, self.vocabulary.encode(sentences), self.seen)


@own_state()
@torch.no_grad()
def score_text(network: LSTMNetwork, text: EncodedCorpus, seen: Tensor | None = None) -> SentenceScores:
    """Score an encoded text.

    Args:
        network: the language model.
        text: ids of `OutputVocabulary`.
        seen: (V,) False for the types that count as out of vocabulary; None: none does.
    """
    device = network.device
    nll, nll_oov, nll_eos = np.zeros((3, len(text)))
    n_oov = np.zeros(len(text), dtype=np.int64)
    unseen = torch.zeros(network.n_types, dtype=torch.bool) if seen is None else ~seen
    unseen = unseen.to(device)
    pieces, owner = in_pieces(text)
    for index in BatchPlan(pieces, _BATCH_SIZE, _BATCH_TOKENS, seed=0).epoch(0):
        batch = pieces.batch(index).to(device)
        packing = Packing.of(batch.lengths, device)
        token_nll = -network.log_probs(batch, packing).double()
        targets = packing.pack(batch.tokens)
        oov, rows = unseen[targets], owner[batch.index.numpy()]
        figures = (token_nll, token_nll * oov, token_nll * (targets == END), oov.long())
        for total, values in zip((nll, nll_oov, nll_eos, n_oov), figures, strict=True):
            np.add.at(total, rows, packing.sum_by_row(values).cpu().numpy())
    return SentenceScores(nll=nll, n_tokens=text.lengths, n_oov=n_oov, nll_oov=nll_oov, nll_eos=nll_eos)


def in_pieces(text: EncodedCorpus) -> tuple[EncodedCorpus, IntArray]:
    """Cut sentences of more than `LONGEST` tokens into pieces; return the text and the sentence index of each piece.

    A piece is read like a sentence, from a zero state. No word is lost, and other sentences are unchanged.
    """
    n_pieces = np.maximum(1, -(-text.lengths // LONGEST))
    owner = np.repeat(np.arange(len(text)), n_pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    starts = text.offsets[:-1][owner] + LONGEST * number
    return EncodedCorpus(text.tokens, np.concatenate([starts, text.offsets[-1:]]).astype(np.int64), END), owner
