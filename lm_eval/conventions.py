"""What is counted: the conventions under which perplexities are reported, and how a vocabulary is closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lebm_text.text.vocabulary import UNK

from .counts import UNKNOWN_WORD, canonical_sentences

__all__ = ["CONVENTIONS", "Convention", "close_vocabulary"]


@dataclass(frozen=True)
class Convention:
    """How tokens are counted, how vocabularies are closed, and who judges.

    `count_eos`: `</s>` is scored and counted. `closed`: words outside the closed vocabulary of the real
    training text are read as `<unk>` in every text, and words that a judge never saw have their share of its
    unigram mass. `vocabulary_lines`: instead, the judge of the samples reads every word of that vocabulary
    once, as a sentence of its own. `judges`: those that it knows (`kn` for every order), the default first;
    `recipe`: that of its LSTM judge.
    """

    name: str
    count_eos: bool
    closed: bool
    vocabulary_lines: bool
    judges: tuple[str, ...]
    recipe: str = "default"


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("default", count_eos=True, closed=True, vocabulary_lines=False, judges=("both", "kn", "lstm")),
        Convention("arae", count_eos=False, closed=False, vocabulary_lines=True, judges=("kn",)),
        Convention("lebm", count_eos=True, closed=True, vocabulary_lines=False, judges=("lstm",), recipe="lebm"),
    )
}


def close_vocabulary(sentences: Iterable[str], vocabulary: Iterable[str]) -> tuple[list[str], int]:
    """Sentences with the words outside `vocabulary` read as `<unk>`, and the number of those words.

    Words are one blank apart afterwards, and `<oov>`, the name of `<unk>` in model files, is `<unk>` again.
    Raises InputError as `canonical_sentences` does.
    """
    known = {word: word for word in vocabulary} | {UNKNOWN_WORD: UNK}
    closed: list[str] = []
    n_outside = 0
    for sentence in canonical_sentences(sentences):
        words = [known.get(word) for word in sentence.split(" ")] if sentence else []
        n_outside += words.count(None)
        closed.append(" ".join([word or UNK for word in words]))
    return closed, n_outside
