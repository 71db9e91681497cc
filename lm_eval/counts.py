"""Text → word ids → counts of all n-grams, without a Python loop over n-grams.

A sentence is `<s> w1 … wm </s>`. The n-grams of an order are numbered by sorting the pairs (number of the
first n-1 words, last word), packed into one int64. Positions stay sorted by their n-gram from one order to the
next, so that only those whose first n-1 words occur more than once need sorting again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError

from .base import IntArray, split_words

__all__ = [
    "BOS",
    "EOS",
    "UNK",
    "UNKNOWN_WORD",
    "EncodedText",
    "Int32Array",
    "NgramCounts",
    "WordIds",
    "canonical_sentences",
    "count_ngrams",
    "encode",
]

Int32Array = npt.NDArray[np.int32]

UNK, BOS, EOS = 0, 1, 2
_MARKERS = ("<unk>", "<s>", "</s>")
UNKNOWN_WORD = "<oov>"
# kenlm loads `<UNK>` onto the id of out-of-vocabulary words, whatever the model says of it.
_RESERVED = frozenset(("<s>", "</s>", "<UNK>"))
# kenlm separates words at these too, so a word that holds one could never be looked up.
_BREAKS_WORDS = frozenset("\0\n\v\f\r")


class _RefusedWord(Exception):
    """A word that no model may contain; becomes an InputError where the line number is known."""


class WordIds(dict[str, int]):
    """Word → id; while `growing`, a new word takes the next id, afterwards it is `UNK`.

    A literal `<unk>` in the text is an ordinary word and is called `<oov>` here and in ARPA files, where
    `<unk>` means "not in the vocabulary".
    """

    def __init__(self, words: Sequence[str] = _MARKERS, *, growing: bool = True) -> None:
        super().__init__((word, index) for index, word in enumerate(words) if index > EOS)
        self.words = list(words)
        self.growing = growing

    def __missing__(self, word: str) -> int:
        if word in _RESERVED or not _BREAKS_WORDS.isdisjoint(word):
            raise _RefusedWord(word)
        if word == "<unk>":
            index = self[UNKNOWN_WORD]
        elif self.growing:
            index = len(self.words)
            self.words.append(word)
        else:
            return UNK
        self[word] = index
        return index


@dataclass(frozen=True)
class EncodedText:
    """`tokens` (P,): the ids of all sentences in a row, each within `<s>` and `</s>`."""

    tokens: Int32Array
    n_sentences: int


def encode(sentences: Iterable[str], ids: WordIds) -> EncodedText:
    """Encode sentences, empty ones as `<s> </s>`. Raises InputError as `canonical_sentences` does."""
    tokens = array("i")
    number = 0
    try:
        for number, sentence in enumerate(sentences, 1):  # noqa: B007 (the handler needs it)
            tokens.append(BOS)
            tokens.extend(map(ids.__getitem__, split_words(sentence)))
            tokens.append(EOS)
    except _RefusedWord as refusal:
        raise _refused(refusal, number) from None
    return EncodedText(np.frombuffer(tokens, dtype=np.int32), number)


def canonical_sentences(sentences: Iterable[str]) -> Iterator[str]:
    """The sentences as kenlm and lmplz must see them: words one blank apart, `<unk>` renamed.

    Raises InputError, with the line number, for `<s>`, `</s>`, `<UNK>` and words with control characters.
    """
    ids = WordIds()
    for number, sentence in enumerate(sentences, 1):
        try:
            yield " ".join([ids.words[ids[word]] for word in split_words(sentence)])
        except _RefusedWord as refusal:
            raise _refused(refusal, number) from None


def _refused(refusal: _RefusedWord, number: int) -> InputError:
    word = str(refusal)
    what = "a reserved word" if word in _RESERVED else "a word with a control character"
    return InputError(f"line {number} contains {what}, {word!r}; remove it from the text")


@dataclass(frozen=True)
class NgramCounts:
    """The G n-grams of one order, sorted by (prefix, word); every array is (G,).

    `prefix` and `suffix` number the first and the last n-1 words among the n-grams of the order below;
    `count` is how often the n-gram stands in the text. For order 1 `prefix` and `suffix` are 0.
    """

    prefix: Int32Array
    suffix: Int32Array
    word: Int32Array
    count: Int32Array

    def __len__(self) -> int:
        return len(self.word)


def count_ngrams(text: EncodedText, n_words: int, order: int) -> list[NgramCounts]:
    """Counts of orders 1..`order`; order 1 has one row a word id, with count 0 for `<unk>` and `<s>`."""
    tokens = text.tokens
    unigrams = np.bincount(tokens, minlength=n_words).astype(np.int32)
    unigrams[BOS] = 0
    nothing = np.zeros(n_words, dtype=np.int32)
    tables = [NgramCounts(nothing, nothing, np.arange(n_words, dtype=np.int32), unigrams)]
    at = tokens  # number of the (n-1)-gram that starts at each position
    starts = np.arange(len(tokens), dtype=np.int32)  # of n-grams; from order 3 on sorted by `prefix`
    for n in range(2, order + 1):
        starts = starts[tokens[starts + (n - 2)] != EOS]
        prefix = at[starts]
        word = tokens[starts + (n - 1)]
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
        tables.append(
            NgramCounts(
                prefix=prefix[edges],
                suffix=at[starts[edges] + 1],
                word=word[edges],
                count=np.diff(edges, append=len(first)).astype(np.int32),
            )
        )
        if n < order:
            numbers = np.cumsum(first, dtype=np.int32)
            numbers -= 1
            at = np.zeros(len(tokens), dtype=np.int32)
            at[starts] = numbers
    return tables


def _in_groups(values: Int32Array) -> IntArray:
    """Where a neighbour has the same value, in sorted `values`."""
    same = values[1:] == values[:-1]
    grouped = np.zeros(len(values), dtype=np.bool_)
    grouped[1:] = same
    grouped[:-1] |= same
    return np.flatnonzero(grouped)
