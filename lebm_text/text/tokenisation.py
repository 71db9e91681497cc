"""Raw text → words as a corpus has them, learned from the corpus's own training text; `--tokenize`.

sacrebleu's `13a` separates punctuation; the training text decides the rest:

- if under 1 % of its types contain upper-case letters, words become lower-case;
- a word that occurs in it, such as `u.s.`, is kept whole unless all its parts occur more often, as those of `food.`;
- a contraction is divided (`do n't`, `it 's`) if it divides its own;
- if it has neither full stops nor commas, like the Penn Treebank's usual edition, punctuation is left out;
- if it writes all numbers as `_num_` or `N`, numbers become that.

Of training sentences glued together as people type, Yelp 98 %, SNLI and PTB 99 %, E2E 93 % and AG News 87 % are
recovered exactly; by `13a` and lower case alone 82, 98, 16, 85 and 69 %.

A training text without blanks between its words, with fewer than two words per sentence or more than 15 characters per
word, is split into characters, and so is all real text compared with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from .reading import normalise, split_words
from .tokenizers import UNK

__all__ = ["Tokenisation", "raw_tokenisation", "rawness", "tokenisation_of"]

_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|m|d|ll|re|ve))", re.IGNORECASE)
_RUN = re.compile(r"(\.{2,}|-{2,}|!{2,}|\?{2,}|'{2,}|`{2,})")  # kept if the corpus has it
_MARKERS = re.compile(f"({re.escape(UNK)}|_num_)")  # placeholders of the corpora, not upper or lower case
_NUMBER = re.compile(r"\d[\d.,]*")
_PLACEHOLDERS = ("_num_", "N")
_FEW_CASED = 0.01
_FEW_WORDS, _LONG_WORDS = 2, 15  # words per sentence, characters per word
_LONGEST = 200  # characters that one word counts for: a single long one says nothing of the others

# Shares of words: in prepared corpora (E2E, Yelp, PTB, SNLI, AG News) none but N has capitals, and at most 1.8 % have
# a sign at an end (`inc.`); in raw text (the King James Bible, documentation, licences) at least 7 and 13 % have.
_MANY_CASED, _MANY_GLUED = 0.02, 0.05
_LOOKED_AT = 1000  # sentences
_SIGNS = frozenset('.,;:!?"()[]…“”„«»。，！？、')


@dataclass(frozen=True)
class Tokenisation:
    """How raw text is converted to that of a corpus.

    Attributes:
        name: for signatures, such as `13a+lower`.
        both: whether real text has to be converted too; otherwise it is in this form already.
        sentence: raw → words separated by one blank.
    """

    name: str
    both: bool
    sentence: Callable[[str], str]

    def real(self, sentences: Iterable[str]) -> list[str]:
        """Return real text in the form of samples that were tokenised."""
        return list(map(self.sentence, sentences)) if self.both else list(sentences)


def tokenisation_of(train: Iterable[str]) -> Tokenisation:
    """Return the tokenisation of a corpus with this training text."""
    counts: Counter[str] = Counter()
    n_sentences = 0
    for sentence in train:
        counts.update(split_words(sentence))
        n_sentences += 1
    lower = sum(word != word.lower() for word in counts) < _FEW_CASED * len(counts)
    if _lacks_blanks(counts, n_sentences):
        return Tokenisation("char" + "+lower" * lower, True, lambda sentence: _characters(sentence, lower=lower))
    bare = not counts["."] and not counts[","]
    numbers = None
    if not any(map(_NUMBER.fullmatch, counts)):
        numbers = next((word for word in _PLACEHOLDERS if counts[word]), None)
    divide = _divider(counts, lower=lower, bare=bare, numbers=numbers)
    name = "13a" + "+lower" * lower + "+bare" * bare + f"+{numbers}" * bool(numbers)
    return Tokenisation(name, False, lambda sentence: " ".join(_words(sentence, divide)))


def raw_tokenisation(*, lowercase: bool = False) -> Callable[[str], str]:
    """Return a function raw → words for text without a corpus to learn from: `13a` and, optionally, lower case.

    The `tokenisation_of` a corpus made by it gives the same words in over 99.9 % of the sentences of King James and
    licence texts.
    """
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
    from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

    library: Callable[[str], str] = Tokenizer13a()  # type: ignore[no-untyped-call]

    def words(sentence: str) -> str:
        pieces = _MARKERS.split(sentence.lower() if lowercase else sentence)
        parts = [piece if _MARKERS.fullmatch(piece) else library(piece) for piece in pieces]
        for kind in (Tokenizer13a, TokenizerRegexp):  # each would cache 65,536 sentences
            kind.__call__.cache_clear()
        return normalise(" ".join(parts))

    return words


def rawness(sentences: Iterable[str], name: str) -> str | None:
    """Return one line on what the first sentences have that prepared corpora lack, and the remedy; else None."""
    looked_at = list(islice(sentences, _LOOKED_AT))
    words = [word for sentence in looked_at for word in split_words(sentence)]
    if _lacks_blanks(Counter(words), len(looked_at)):
        cure = "train with text.tokenizer=sentencepiece, judge with --tokenize"
        return f"{name} has hardly any blanks between words: {cure}"
    n_cased = sum(len(word) > 1 and word != word.lower() for word in words)
    n_glued = sum(not _SIGNS.isdisjoint((word[0], word[-1])) and any(map(str.isalnum, word)) for word in words)
    found = (
        (n_cased, _MANY_CASED, "capitals", "--lowercase"),
        (n_glued, _MANY_GLUED, "punctuation attached", "--tokenize"),
    )
    shares = [(f"{n / len(words):.0%} with {what}", cure) for n, many, what, cure in found if n > many * len(words)]
    if not shares:
        return None
    said, cures = (", ".join(part) for part in zip(*shares, strict=True))
    return f"{name} has words as in raw text, {said}: lebm-text data import changes that by {cures}"


def _lacks_blanks(counts: Counter[str], n_sentences: int) -> bool:
    """Return whether a text with these words is one of characters: sentences of few words, or words of many letters."""
    n_characters = sum(min(len(word), _LONGEST) * count for word, count in counts.items())
    return counts.total() < _FEW_WORDS * n_sentences or n_characters > _LONG_WORDS * counts.total()


def _characters(sentence: str, *, lower: bool) -> str:
    pieces = _MARKERS.split("".join(split_words(sentence.lower() if lower else sentence)))
    return " ".join(letter for piece in pieces for letter in ([piece] if _MARKERS.fullmatch(piece) else piece))


def _words(sentence: str, divide: Callable[[str], tuple[str, ...]]) -> Iterator[str]:
    for chunk in split_words(sentence):
        for part in filter(None, _MARKERS.split(chunk)):
            yield from (part,) if _MARKERS.fullmatch(part) else divide(part)


def _divider(counts: Counter[str], *, lower: bool, bare: bool, numbers: str | None) -> Callable[[str], tuple[str, ...]]:
    """Return a function from the text between two blanks to its words."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    library: Callable[[str], str] = Tokenizer13a()  # type: ignore[no-untyped-call]

    def form(word: str) -> str:
        if numbers and not counts[word] and _NUMBER.fullmatch(word):
            return numbers
        return word.lower() if lower and not counts[word] else word

    def contracted(word: str) -> list[str]:
        if (found := _CONTRACTION.fullmatch(word)) and counts[ending := form(found[2])] > counts[word]:
            return [form(found[1]), ending]
        return [word]

    def parts_of(chunk: str) -> list[str]:
        runs = [run if counts[run] and _RUN.fullmatch(run) else library(run) for run in _RUN.split(chunk)]
        return [word for run in runs for piece in split_words(run) for word in contracted(form(piece))]

    def stays(chunk: str) -> bool:
        word = form(chunk)
        if not counts[word]:  # before its parts are looked for, which takes long for a long run of signs
            return False
        # One part is another word where 13a resolves a reference: a corpus may have `&amp;` itself.
        parts = parts_of(chunk)
        return parts != [word] and counts[word] >= min((counts[part] for part in parts), default=0)

    @lru_cache(1 << 16)  # without a limit, the rare words of a long text would fill the memory
    def divide(chunk: str) -> tuple[str, ...]:
        whole = form(chunk)
        if stays(chunk) or (counts[whole] and not any(map(str.isalnum, whole))):
            return (whole,)
        for end in range(len(chunk) - 1, 0, -1):  # the abbreviation in `inc.,`
            if chunk[end].isalnum():
                break
            if stays(chunk[:end]):
                return form(chunk[:end]), *divide(chunk[end:])
        parts = parts_of(chunk)
        if bare:
            parts = [part for part in parts if counts[part] or any(map(str.isalnum, part))]
        return tuple(parts)

    return divide
