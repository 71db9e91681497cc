r"""The sentences of a corpus whose posterior means lie nearest to those of given sentences.

cosine distance 1 − a·b / (‖a‖ ‖b‖),   Euclidean distance ‖a − b‖
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["METRICS", "Nearest", "nearest"]

METRICS = ("cosine", "euclidean")
_AT_ONCE = 256  # queries whose distances to the whole corpus are held in memory


class Nearest(NamedTuple):
    """Of Q queries: rows of the corpus (Q, k), nearest first, their distances, and the mean distance of all (Q,)."""

    rows: Tensor
    distance: Tensor
    mean: Tensor


def nearest(queries: Tensor, corpus: Tensor, k: int, metric: str) -> Nearest:
    """The k rows of `corpus` (N, D) nearest to each row of `queries` (Q, D); at most N."""
    if metric == "cosine":
        queries, corpus = F.normalize(queries, dim=1), F.normalize(corpus, dim=1)
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, len(queries), _AT_ONCE):
        block = queries[start : start + _AT_ONCE]
        distance = 1 - block @ corpus.T if metric == "cosine" else torch.cdist(block, corpus)
        value, rows = distance.topk(min(k, len(corpus)), largest=False)
        found.append((rows, value, distance.mean(1)))
    return Nearest(*(torch.cat(column) for column in zip(*found, strict=True)))
