"""Texts as judges read them: what a convention counts, how it closes vocabularies; texts of known quality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice

import numpy as np

from lebm_text.errors import InputError
from lebm_text.text.reading import split_words
from lebm_text.text.tokenizers import UNK
from lebm_text.text.tokenizers import closed_vocabulary as words_of

from .counts import UNKNOWN_WORD, as_sentences, canonical_sentences, naming
from .coverage import Coverage
from .ngram import NgramModel

__all__ = ["CONVENTIONS", "Convention", "RealText", "Reference", "Samples", "calibration_texts", "close_vocabulary"]
__all__ += ["closed_vocabulary"]


@dataclass(frozen=True)
class Convention:
    """How tokens are counted, how vocabularies are closed, and who judges.

    `count_eos`: `</s>` is scored and counted. `closed`: words outside the closed vocabulary of the real training text
    are read as `<unk>` in every text, and words that a judge never saw have their share of its unigram mass.
    `vocabulary_lines`: instead, the judge of the samples reads every word of that vocabulary once, as a sentence of
    its own. `judges`: those that it knows (`kn` for every order), the default first; `recipe`: that of its LSTM judge.
    """

    name: str
    count_eos: bool
    closed: bool
    vocabulary_lines: bool
    judges: tuple[str, ...]
    recipe: str = "default"


CONVENTIONS = {
    each.name: each
    for each in (
        Convention("default", count_eos=True, closed=True, vocabulary_lines=False, judges=("both", "kn", "lstm")),
        Convention("arae", count_eos=False, closed=False, vocabulary_lines=True, judges=("kn",)),
        Convention("lebm", count_eos=True, closed=True, vocabulary_lines=False, judges=("lstm",), recipe="lebm"),
    )
}


@dataclass(frozen=True)
class RealText:
    """A corpus: the text to train on, the held-out `split` (test or valid), and the validation text.

    `valid` is what LSTM judges stop on; n-gram judges need none.
    """

    name: str
    train: Sequence[str]
    split: str
    held_out: Sequence[str]
    valid: Sequence[str] = ()


@dataclass(frozen=True)
class Samples:
    """Generated sentences and, for signatures, how they came about: `decode=sample,T=1` and `seed:1`, say.

    `tokenizer`: what the judges' words were made of, if a generator wrote pieces that were joined to text.
    """

    sentences: Sequence[str]
    decoding: str = ""
    details: tuple[str, ...] = ()
    tokenizer: str = "word"


class Reference:
    """A corpus as judges read it under a convention.

    Attributes:
        vocabulary: the closed vocabulary of the training text, `<unk>` among its words.
        train, held_out: sentences, closed if the convention says so.
        n_outside: tokens of the held-out text that this mapped to `<unk>`.
        coverage: what the vocabulary knows of the held-out text, whether it is closed or not.
    """

    def __init__(
        self,
        real: RealText,
        convention: Convention = CONVENTIONS["default"],
        vocabulary: Iterable[str] | None = None,
    ) -> None:
        """`vocabulary`: in place of the training text's. Raises InputError for words that no judge may read."""
        self.real = real
        self.convention = convention
        self.vocabulary = (
            _closed_vocabulary(real.train, f"{real.name} train")
            if vocabulary is None
            else list(dict.fromkeys([UNK, *as_sentences(vocabulary, "vocabulary", "words")]))
        )
        self._known = frozenset(self.vocabulary)
        self.train, _ = self.read(real.train, f"{real.name} train")
        self.held_out, self.n_outside = self.read(real.held_out, f"{real.name} {real.split}")

    @cached_property
    def coverage(self) -> Coverage:
        return self.coverage_of(self.real.held_out)

    def coverage_of(self, sentences: Iterable[str]) -> Coverage:
        """What the vocabulary knows of `sentences`."""
        return Coverage.of(sentences, self._known)

    @cached_property
    def valid(self) -> list[str]:
        """The validation text, read likewise. Raises InputError if there is none."""
        if self.real.split == "valid":
            return self.held_out
        if not self.real.valid:
            raise InputError(f"{self.real.name} has no validation text, which LSTM judges need")
        return self.read(self.real.valid, f"{self.real.name} valid")[0]

    def read(self, sentences: Iterable[str], source: str) -> tuple[list[str], int]:
        """Sentences as judges read them, and how many tokens that mapped to `<unk>`.

        Raises InputError, naming `source` and the line, for words that no judge may read, and for what is no list of
        strings.
        """
        lines = as_sentences(sentences, source)
        with naming(source):
            if self.convention.closed:
                return close_vocabulary(lines, self.vocabulary)
            return list(canonical_sentences(lines)), 0


def closed_vocabulary(sentences: Iterable[str]) -> list[str]:
    """The words that judges know of a training text: `<unk>` first, then by falling frequency, ties by code point.

    All of them if `<unk>` is among them, otherwise those that stand there at least twice.

    Raises InputError for what is no list of strings.
    """
    return _closed_vocabulary(sentences, "the training text")


def _closed_vocabulary(sentences: Iterable[str], source: str) -> list[str]:
    return words_of(as_sentences(sentences, source))


def close_vocabulary(sentences: Iterable[str], vocabulary: Iterable[str]) -> tuple[list[str], int]:
    """Sentences with the words outside `vocabulary` read as `<unk>`, and the number of those words.

    Words are one blank apart afterwards, and `<oov>`, the name of `<unk>` in model files, is `<unk>` again.
    Raises InputError as `canonical_sentences` does.
    """
    known = {word: word for word in vocabulary} | {UNKNOWN_WORD: UNK}
    closed: list[str] = []
    n_outside = 0
    for sentence in canonical_sentences(sentences):
        words = [known.get(word) for word in split_words(sentence)]
        n_outside += words.count(None)
        closed.append(" ".join([word or UNK for word in words]))
    return closed, n_outside


def calibration_texts(train: Sequence[str], n: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Named texts of `n` sentences made from the real training text; each has its own stream of `seed`.

    They are what a perplexity is read against: what does copying score, or an n-gram generator?
    """
    for order in (5, 3, 2):
        yield f"{order}-gram samples", NgramModel.train(train, order).sample(n, np.random.default_rng([seed, order]))
    words = [word for sentence in train for word in split_words(sentence)]
    mixed = iter([words[row] for row in np.random.default_rng([seed, 0]).permutation(len(words)).tolist()])
    shuffled = [" ".join([next(mixed) for _ in split_words(sentence)]) for sentence in train]
    block = train[:500]
    for name, text in (
        ("training text", train),
        (f"{len(block)} sentences repeated", block),
        ("training text, words shuffled", shuffled),
    ):
        yield name, list(islice(cycle(text), n))
