"""Many sentences as two arrays: all ids in a row, and where each sentence starts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["EncodedSentences", "drop_long", "pack"]


class EncodedSentences(NamedTuple):
    """Sentence i is `tokens[offsets[i]:offsets[i + 1]]`, its last token `</s>`."""

    tokens: npt.NDArray[np.int32]  # (total tokens,)
    offsets: npt.NDArray[np.int64]  # (n_sentences + 1,), from 0 to the total


def pack(encoded: Iterable[list[int]], eos_id: int) -> EncodedSentences:
    """Join lists of ids, each closed by `eos_id`; four bytes a token while it grows."""
    tokens = array("i")
    ends = array("q", [0])
    for ids in encoded:
        tokens.extend(ids)
        tokens.append(eos_id)
        ends.append(len(tokens))
    return EncodedSentences(np.array(tokens, dtype=np.int32), np.array(ends, dtype=np.int64))


def drop_long(sentences: EncodedSentences, max_length: int) -> tuple[EncodedSentences, npt.NDArray[np.int64]]:
    """Leave out the sentences of more than `max_length` tokens, `</s>` not counted.

    Returns the rest and `kept`, the indices of the sentences that stayed, in order; the number dropped is
    the difference of the lengths. Raises ValueError for max_length < 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1 token, got {max_length}")
    tokens, offsets = sentences
    lengths = np.diff(offsets)
    stays = lengths - 1 <= max_length
    kept = np.flatnonzero(stays).astype(np.int64)
    if kept.size == lengths.size:
        return sentences, kept
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[stays], dtype=np.int64)])
    return EncodedSentences(tokens[np.repeat(stays, lengths)], starts), kept
