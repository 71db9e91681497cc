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
    """What is counted, how vocabularies are closed, and which judges are allowed.

    `count_eos`: `</s>` is scored and counted. `closed`: words outside the closed vocabulary of the real training text
    are read as `<unk>` in every text, and words unseen by a judge share its unigram mass.
    `vocabulary_lines`: instead, the judge of the samples also reads every word of that vocabulary once, as a sentence
    of its own. `judges`: those allowed (`kn` for every order), the default first; `recipe`: that of the LSTM judge.
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

    LSTM judges stop on `valid`; n-gram judges need none.
    """

    name: str
    train: Sequence[str]
    split: str
    held_out: Sequence[str]
    valid: Sequence[str] = ()


@dataclass(frozen=True)
class Samples:
    """Generated sentences and, for signatures, how they were made, such as `decode=sample,T=1` and `seed:1`.

    `tokenizer`: how the generator formed its tokens, such as subwords that were joined to words. `name`: for messages.
    """

    sentences: Sequence[str]
    decoding: str = ""
    details: tuple[str, ...] = ()
    tokenizer: str = "word"
    name: str = "samples"


class Reference:
    """A corpus as judges read it under a convention.

    Attributes:
        vocabulary: the closed vocabulary of the training text, including `<unk>`.
        train, held_out: sentences, closed if the convention asks for it.
        n_outside: tokens of the held-out text that became `<unk>`.
        coverage: of the held-out text by the vocabulary, whether it is closed or not.
    """

    def __init__(
        self,
        real: RealText,
        convention: Convention = CONVENTIONS["default"],
        vocabulary: Iterable[str] | None = None,
    ) -> None:
        """`vocabulary` replaces that of the training text.

        Raises InputError for words that no judge may read, and for a member of `vocabulary` that is not one word.
        """
        self.real = real
        self.convention = convention
        words = words_of(as_sentences(real.train, f"{real.name} train")) if vocabulary is None else _words(vocabulary)
        # `<oov>` is read as `<unk>`, and no type of its own.
        self.vocabulary = [word for word in dict.fromkeys([UNK, *words]) if word != UNKNOWN_WORD]
        self._known = frozenset(self.vocabulary)
        self.train, _ = self.read(real.train, f"{real.name} train")
        self.held_out, self.n_outside = self.read(real.held_out, f"{real.name} {real.split}")

    @cached_property
    def coverage(self) -> Coverage:
        return self.coverage_of(self.real.held_out)

    def coverage_of(self, sentences: Iterable[str]) -> Coverage:
        """Return the coverage of `sentences` by the vocabulary."""
        return Coverage.of(sentences, self._known)

    @cached_property
    def valid(self) -> list[str]:
        """Return the validation text as judges read it. Raises InputError if there is none."""
        if self.real.split == "valid":
            return self.held_out
        if not self.real.valid:
            raise InputError(f"{self.real.name} has no validation text, which LSTM judges need")
        return self.read(self.real.valid, f"{self.real.name} valid")[0]

    def read(self, sentences: Iterable[str], source: str) -> tuple[list[str], int]:
        """Return sentences as judges read them, and how many tokens became `<unk>`.

        Raises InputError, naming `source` and the line, for words that no judge may read, and for anything but a list
        of strings.
        """
        with naming(source):
            if self.convention.closed:
                return close_vocabulary(sentences, self.vocabulary)
            return list(canonical_sentences(sentences)), 0


def _words(vocabulary: Iterable[str]) -> list[str]:
    """Return the words of a list. Raises InputError for anything else: what no word equals would count as one."""
    words = as_sentences(vocabulary, "vocabulary", "words")
    for number, word in enumerate(words, 1):
        if split_words(word) != [word]:
            raise InputError(f"vocabulary: number {number} is {word!r:.60}, not one word without blanks")
    return words


def closed_vocabulary(sentences: Iterable[str]) -> list[str]:
    """Return the words that judges know of a training text: `<unk>` first, then by falling frequency, then code point.

    These are all words if `<unk>` occurs in the text, otherwise those that occur at least twice.

    Raises InputError for anything but a list of strings.
    """
    return words_of(as_sentences(sentences, "the training text"))


def close_vocabulary(sentences: Iterable[str], vocabulary: Iterable[str]) -> tuple[list[str], int]:
    """Return sentences with the words outside `vocabulary` replaced by `<unk>`, and the number of those words.

    Words are separated by one blank, and `<oov>`, the name of `<unk>` in model files, becomes `<unk>` again.
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
    """Yield named texts of `n` sentences made from the real training text; each has its own stream of `seed`.

    They calibrate a perplexity: what do copies, or samples of an n-gram model, score?
    """
    for order in (5, 3, 2):
        yield f"{order}-gram samples", NgramModel.train(train, order).sample(n, np.random.default_rng([seed, order]))
    words = [word for sentence in train for word in split_words(sentence)]
    mixed = iter([words[row] for row in np.random.default_rng([seed, 0]).permutation(len(words)).tolist()])
    shuffled = [" ".join([next(mixed) for _ in split_words(sentence)]) for sentence in train]
    block = train[: max(min(500, n // 2), 1)]  # stands in the text twice at least
    for name, text in (
        ("training text", train),
        (f"{len(block)} sentences repeated", block),
        ("training text, words shuffled", shuffled),
    ):
        yield name, list(islice(cycle(text), n))
