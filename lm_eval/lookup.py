"""Scoring with a model in memory, by the query rule of ARPA files; the same numbers as kenlm.

log p(w|h) = the stored log p(hw) if the model has hw, else log b(h) + log p(w|h′)
"""

from __future__ import annotations

import numpy as np

from .base import FloatArray, IntArray
from .counts import BOS, EncodedText, Int32Array
from .kneser_ney import NgramModel

__all__ = ["NgramIndex", "token_log_probs"]


class NgramIndex:
    """Finds n-grams of a model by (number of the first n-1 words, last word)."""

    def __init__(self, model: NgramModel) -> None:
        self._n_words = len(model.words)
        self._keys = [self._key(table.prefix, table.word) for table in model.tables]

    def find(self, n: int, context: Int32Array, word: Int32Array) -> Int32Array:
        """Numbers, among the n-grams, of context and word (K,) put together; -1 where the model has none."""
        keys, wanted = self._keys[n - 1], self._key(context, word)
        numbers = np.searchsorted(keys, wanted).astype(np.int32)
        inside = numbers < len(keys)
        inside[inside] = keys[numbers[inside]] == wanted[inside]
        numbers[(context < 0) | ~inside] = -1
        return numbers

    def _key(self, prefix: Int32Array, word: Int32Array) -> IntArray:
        return prefix.astype(np.int64) * self._n_words + word


def token_log_probs(model: NgramModel, index: NgramIndex, text: EncodedText) -> FloatArray:
    """log10 p of every token of `text` given its predecessors, (P,); 0 for each `<s>`.

    `text` is encoded with the model's own word ids; unknown words have the id of `<unk>`. All tokens are
    looked up at once, order by order: the n-gram that ends at a token is found from the number of its
    first n-1 words, which was found for the token before.
    """
    tokens = text.tokens
    logs: FloatArray = model.tables[0].log_prob[tokens].astype(np.float64)
    below = tokens  # number of the (n-1)-gram that ends at each position; -1 if the model does not have it
    ends = np.flatnonzero(tokens != BOS)  # where n-grams end that lie within a sentence
    for n in range(2, model.order + 1):
        context = below[ends - 1]
        ends, context = ends[context >= 0], context[context >= 0]
        numbers = index.find(n, context, tokens[ends])
        found = numbers >= 0
        logs[ends[found]] = model.tables[n - 1].log_prob[numbers[found]]
        logs[ends[~found]] += model.tables[n - 2].log_backoff[context[~found]]
        below = np.full(len(tokens), -1, dtype=np.int32)
        below[ends] = numbers
        ends = ends[tokens[ends - (n - 1)] != BOS]
    logs[tokens == BOS] = 0.0
    return logs
