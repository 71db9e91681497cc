"""Encoded corpora in flat arrays, and length-bucketed batches in a seeded order that can be resumed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.transfer import send

from .encoding import TokenArray

__all__ = ["Batch", "BatchPlan", "EncodedCorpus", "PaddedBatch", "padded_rows", "prefetch"]

LENGTH_STEP = 4  # padded lengths are multiples of it
ROW_STEPS = 8  # numbers of padded rows between two powers of two

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Batch:
    """B sentences, longest first.

    Attributes:
        tokens: (B, T) ids with the closing `</s>`, padded.
        lengths: (B,) on the CPU, tokens including `</s>`.
        index: (B,) on the CPU, positions of the sentences in the corpus.
    """

    tokens: Tensor
    lengths: Tensor
    index: Tensor

    @property
    def n_tokens(self) -> int:
        """Number of tokens with `</s>`, without padding."""
        return int(self.lengths.sum())

    def select(self, rows: Tensor) -> Batch:
        """Return the sentences at `rows`, at least one, in increasing order."""
        lengths = self.lengths[rows]
        tokens = self.tokens[rows.to(self.tokens.device), : int(lengths[0])]
        return Batch(tokens, lengths, self.index[rows])

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tokens on `device`; copies to CUDA are asynchronous."""
        # Not done where batches are made: a second thread may not call CUDA while a graph is captured.
        return Batch(send(self.tokens, device), self.lengths, self.index)

    def padded(self) -> PaddedBatch:
        """Return the sentences padded to the next of a few shapes, on the device of the tokens."""
        n_rows, longest = len(self.lengths), int(self.lengths[0])
        rows = padded_rows(n_rows) - n_rows
        tokens = torch.constant_pad_nd(self.tokens[:, :longest], (0, -longest % LENGTH_STEP, 0, rows))
        return PaddedBatch(tokens, send(torch.constant_pad_nd(self.lengths, (0, rows)), tokens.device))


@dataclass(frozen=True)
class PaddedBatch:
    """Sentences in one of a few shapes, so that a graph captured for one batch can be replayed for others.

    Attributes:
        tokens: (R, L) ids with the closing `</s>`, padded.
        lengths: (R,) on the same device, so that the host need not wait for it; 0 for a row without a sentence.
    """

    tokens: Tensor
    lengths: Tensor


def padded_rows(n: int) -> int:
    """Return the least allowed number of rows that is not below `n`: 8, 9 … 16, 18 … 32, 36 …"""
    step = max(1, (1 << (n - 1).bit_length()) // (2 * ROW_STEPS))
    return -(-n // step) * step


@dataclass(frozen=True)
class EncodedCorpus:
    """N sentences as one flat array, possibly a memory-mapped file: a batch reads only its own sentences.

    Attributes:
        tokens: all ids, each sentence closed by `</s>`.
        offsets: (N + 1,) start of each sentence, and the end of the last.
        pad_id: fills short rows of a batch.
    """

    tokens: TokenArray
    offsets: NDArray[np.int64]
    pad_id: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each sentence, with `</s>`."""
        return np.diff(self.offsets)

    def batch(self, index: NDArray[np.integer]) -> Batch:
        """Return the sentences at `index`, sorted longest first (equal lengths keep their order)."""
        index = index.astype(np.int64)
        lengths = self.offsets[index + 1] - self.offsets[index]
        order = np.argsort(-lengths, kind="stable")
        index, lengths = index[order], lengths[order]
        inside = np.arange(lengths[0]) < lengths[:, None]  # (B, T)
        rows = np.full(inside.shape, self.pad_id, dtype=np.int64)
        places = (self.offsets[index][:, None] + np.arange(lengths[0]))[inside]
        rows[inside] = self.tokens[places]
        return Batch(torch.from_numpy(rows), torch.from_numpy(lengths), torch.from_numpy(index))


@dataclass(frozen=True)
class BatchPlan:
    """Assignment of sentences to batches in each epoch; every sentence occurs exactly once per epoch.

    Sentences are shuffled, then sorted by length, so that equal lengths are grouped at random; runs of them are cut
    into batches of at most `batch_size` rows and `batch_tokens` padded tokens, and the batches are shuffled. An epoch
    depends only on (seed, epoch), so training can resume in the middle of one. The plan takes 4 bytes of memory per
    sentence (8 from 2³² on), some 20 while it is made.
    """

    corpus: EncodedCorpus
    batch_size: int
    batch_tokens: int
    seed: int

    def epoch(self, epoch: int) -> list[NDArray[np.integer]]:
        """Return the sentence indices of each batch of an epoch, in order."""
        rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = _compact(np.arange(len(self.corpus)))
        rng.shuffle(order)
        lengths = _compact(self.corpus.lengths)
        order = order[np.argsort(lengths[order], kind="stable")]
        batches = [order[start:end] for start, end in _cuts(lengths[order], self.batch_size, self.batch_tokens)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def largest(self) -> NDArray[np.integer]:
        """Return the sentence indices of a batch with the most padded tokens of all batches of all epochs."""
        order = np.argsort(self.corpus.lengths, kind="stable")
        lengths = self.corpus.lengths[order]
        cuts = _cuts(lengths, self.batch_size, self.batch_tokens)
        start, end = max(cuts, key=lambda cut: (cut[1] - cut[0]) * int(lengths[cut[1] - 1]))
        return order[start:end]

    @property
    def n_batches(self) -> int:
        """Number of batches per epoch; equal in all epochs, since cuts depend only on the sorted lengths."""
        lengths = np.sort(_compact(self.corpus.lengths))
        return sum(1 for _ in _cuts(lengths, self.batch_size, self.batch_tokens))

    @property
    def mean_batch_size(self) -> float:
        """Mean number of sentences per batch, by which sums over a batch are divided."""
        return len(self.corpus) / self.n_batches


def _compact(numbers: NDArray[np.int64]) -> NDArray[np.integer]:
    """Return the same non-negative numbers in the smallest integer type that holds the largest."""
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def _cuts(lengths: NDArray[np.integer], batch_size: int, batch_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of increasing `lengths`; one with a single sentence may exceed `batch_tokens`."""
    start = 0
    while start < len(lengths):
        window = lengths[start : start + batch_size]
        fits = int((window * np.arange(1, len(window) + 1) <= batch_tokens).sum())
        end = start + max(1, fits)
        yield start, end
        start = end


def prefetch(
    make: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int = 2
) -> Generator[_Result, None, None]:
    """Yield `map(make, items)` in order, with up to `ahead` results computed in advance in one background thread.

    Nothing is computed before the first result is requested. An exception of `make` is raised in place of the
    result it belongs to. The thread ends with the last result, with an exception, and when the iterator is
    closed; leave it early only under `contextlib.closing`.

    Args:
        make: called once with each item, in the thread.
        items: what to call it with.
        ahead: maximum number of results that wait.
    """
    waiting: deque[Future[_Result]] = deque()
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
