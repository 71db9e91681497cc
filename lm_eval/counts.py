"""Text → word ids → counts of all n-grams, without a Python loop over n-grams.

A sentence is `<s> w1 … wm </s>`. The n-grams of an order are numbered by sorting the pairs (number of the
first n-1 words, last word), packed into one int64. Positions stay sorted by their n-gram from one order to the
next, so that only those whose first n-1 words occur more than once need sorting again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError
from lebm_text.text.reading import listed, split_words

__all__ = ["BOS", "EOS", "UNK", "UNKNOWN_WORD", "NgramCounts", "Ngrams", "WordIds", "canonical_sentences"]
__all__ += ["as_sentences", "count_ngrams", "drawn", "encode", "naming"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]

UNK, BOS, EOS = 0, 1, 2
_MARKERS = ("<unk>", "<s>", "</s>")
UNKNOWN_WORD = "<oov>"


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Prefix InputErrors raised inside with the name of the text: `samples.txt: line 3 contains …`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def as_sentences(given: object, source: str, what: str = "sentences") -> list[str]:
    """Return `given` as a list of strings.

    Args:
        given: an iterable of strings.
        source: name of the text, for messages.
        what: name of the members, for messages.

    Raises:
        InputError: as `lebm_text.text.reading.listed` does.
    """
    with naming(source):
        return list(listed(given, what))


def drawn(sentences: Sequence[str], n: int, seed: int | Sequence[int]) -> list[str]:
    """Return `n` sentences drawn without replacement, in their order, or all: a text may be sorted by subject."""
    rows = np.random.default_rng(seed).permutation(len(sentences))[:n]
    return [sentences[row] for row in np.sort(rows).tolist()]


class WordIds(dict[str, int]):
    """Word → id; while `growing`, a new word gets the next id, otherwise `UNK`.

    A literal `<unk>` in the text is an ordinary word and is called `<oov>` here and in ARPA files, where
    `<unk>` means "not in the vocabulary".
    """

    def __init__(self, words: Sequence[str] = _MARKERS, *, growing: bool = True) -> None:
        super().__init__((word, index) for index, word in enumerate(words) if index > EOS)
        self.words = list(words)
        self.growing = growing

    def __missing__(self, word: str) -> int:
        if word == "<unk>":
            index = self[UNKNOWN_WORD]
        elif self.growing:
            index = len(self.words)
            self.words.append(word)
        else:
            return UNK
        self[word] = index
        return index


def encode(sentences: Iterable[str], ids: WordIds) -> Int32Array:
    """Return the ids of all sentences in one array (P,), each sentence between `<s>` and `</s>`, empty ones too.

    Raises InputError as `lebm_text.text.reading.listed` does.
    """
    tokens = array("i")
    for sentence in listed(sentences):
        tokens.append(BOS)
        tokens.extend(map(ids.__getitem__, split_words(sentence)))
        tokens.append(EOS)
    return np.frombuffer(tokens, dtype=np.int32)


def canonical_sentences(sentences: Iterable[str]) -> Iterator[str]:
    """Yield the sentences in the form kenlm and lmplz need: words separated by one blank, `<unk>` renamed.

    Raises InputError as `lebm_text.text.reading.listed` does: with the line number, for `<s>`, `</s>`, `<UNK>` and
    words with control characters.
    """
    ids = WordIds()
    for sentence in listed(sentences):
        yield " ".join([ids.words[ids[word]] for word in split_words(sentence)])


@dataclass(frozen=True)
class Ngrams:
    """The G n-grams of one order, sorted by (prefix, word); every array is (G,).

    `prefix` and `suffix` number the first and the last n-1 words among the n-grams of order n-1; for order 1
    they are 0.
    """

    prefix: Int32Array
    suffix: Int32Array
    word: Int32Array

    def __len__(self) -> int:
        return len(self.word)


@dataclass(frozen=True)
class NgramCounts(Ngrams):
    """The n-grams of one order; `count` is the number of occurrences of each in the text."""

    count: Int32Array


def count_ngrams(tokens: Int32Array, n_words: int, order: int) -> list[NgramCounts]:
    """Count the n-grams of an encoded text.

    Args:
        tokens: (P,) ids as `encode` returns them.
        n_words: number of word ids.
        order: highest order.

    Returns:
        One table for each order 1..`order`; order 1 has one row per word id, count 0 for `<unk>` and `<s>`.
    """
    unigrams = np.bincount(tokens, minlength=n_words).astype(np.int32)
    unigrams[BOS] = 0
    nothing = np.zeros(n_words, dtype=np.int32)
    tables = [NgramCounts(nothing, nothing, np.arange(n_words, dtype=np.int32), unigrams)]
    at = tokens  # number of the (n-1)-gram that starts at each position
    starts = np.arange(len(tokens), dtype=np.int32)  # positions of n-grams; sorted by `prefix` from order 3 on
    for n in range(2, order + 1):
        starts = starts[tokens[starts + (n - 2)] != EOS]
        prefix, word = at[starts], tokens[starts + (n - 1)]
        rows = np.arange(len(starts)) if n == 2 else _in_groups(prefix)
        key = prefix[rows].astype(np.int64)
        key *= n_words
        key += word[rows]
        by_key = rows[np.argsort(key)]
        for column in (starts, prefix, word):
            column[rows] = column[by_key]
        del key, rows, by_key
        first = np.ones(len(starts), dtype=np.bool_)
        first[1:] = (prefix[1:] != prefix[:-1]) | (word[1:] != word[:-1])
        edges = np.flatnonzero(first)
        count = np.diff(edges, append=len(first)).astype(np.int32)
        tables.append(NgramCounts(prefix[edges], at[starts[edges] + 1], word[edges], count))
        if n < order:
            at = np.zeros(len(tokens), dtype=np.int32)
            at[starts] = np.cumsum(first, dtype=np.int32) - 1
    return tables


def _in_groups(values: Int32Array) -> IntArray:
    """Return the positions in sorted `values` whose neighbour has the same value."""
    same = values[1:] == values[:-1]
    return np.flatnonzero(np.append(same, False) | np.append(False, same))
