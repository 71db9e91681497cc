"""What is counted: the conventions under which perplexities are reported, and how a vocabulary is closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .counts import UNKNOWN_WORD, canonical_sentences

__all__ = ["CONVENTIONS", "Convention", "close_vocabulary"]


@dataclass(frozen=True)
class Convention:
    """How tokens are counted and vocabularies closed.

    `count_eos`: `</s>` is scored and counted. `closed`: words outside the closed vocabulary of the real
    training text are read as `<unk>` in every text, and words that a judge never saw have their share of its
    unigram mass. `vocabulary_lines`: instead, the judge of the samples reads every word of that vocabulary
    once, as a sentence of its own.
    """

    name: str
    count_eos: bool
    closed: bool
    vocabulary_lines: bool


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("default", count_eos=True, closed=True, vocabulary_lines=False),
        Convention("arae", count_eos=False, closed=False, vocabulary_lines=True),
    )
}


def close_vocabulary(sentences: Iterable[str], vocabulary: Iterable[str]) -> tuple[list[str], int]:
    """Canonical sentences with the words outside `vocabulary` read as `<unk>`, and the number of those words.

    Raises InputError as `canonical_sentences` does.
    """
    known = {word: word for word in (*vocabulary, UNKNOWN_WORD)}
    closed: list[str] = []
    n_outside = 0
    for sentence in canonical_sentences(sentences):
        words = [known.get(word) for word in sentence.split(" ")] if sentence else []
        n_outside += words.count(None)
        closed.append(" ".join([word or UNKNOWN_WORD for word in words]))
    return closed, n_outside
