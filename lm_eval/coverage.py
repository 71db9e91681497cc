"""How much of a text a vocabulary covers, and warnings where a perplexity is misleading.

A closed vocabulary reads every other word as `<unk>`, which costs the judge little: text of another tokenisation, in
another file format or without blanks gets a perplexity as good as any. So every perplexity is reported with the share

    unknown = (words outside the vocabulary + words written `<unk>`) / words

A warning is raised if the share of the samples exceeds that of real text by more than 5 percentage points and by a
factor of more than 1.5: with the rarest 5 % of a test text's words unknown, its perplexity fell by 17 to 27 % (Yelp,
SNLI, PTB).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from lebm_text.text.reading import split_words
from lebm_text.text.tokenizers import UNK

from .counts import UNKNOWN_WORD

__all__ = ["Coverage", "coverage_warnings", "expected_coverage"]

_POINTS, _TIMES = 0.05, 1.5  # docs/which-perplexity.md states them
_MOST = 0.5


@dataclass(frozen=True)
class Coverage:
    """Counts of the words of a text that a vocabulary lacks.

    Attributes:
        n_outside: words that the vocabulary lacks.
        n_unk: words that are written as `<unk>` in the text.
        n_alone: sentences that consist of one word, which the vocabulary lacks.
        n_empty: sentences without words.
    """

    n_sentences: int
    n_words: int
    n_outside: int
    n_unk: int
    n_alone: int
    n_empty: int = 0

    @classmethod
    def of(cls, sentences: Iterable[str], vocabulary: Container[str]) -> Coverage:
        """Count the words of `sentences` that a vocabulary knows."""
        counts: Counter[str] = Counter()
        n_sentences = n_alone = n_empty = 0
        for sentence in sentences:
            words = split_words(sentence)
            counts.update(words)
            n_sentences += 1
            n_alone += len(words) == 1 and words[0] not in vocabulary
            n_empty += not words
        n_unk = counts.pop(UNK, 0) + counts.pop(UNKNOWN_WORD, 0)
        n_outside = sum(count for word, count in counts.items() if word not in vocabulary)
        return cls(n_sentences, counts.total() + n_unk, n_outside, n_unk, n_alone, n_empty)

    @property
    def outside(self) -> float:
        """Share of the words that the vocabulary lacks."""
        return self.n_outside / max(self.n_words, 1)

    @property
    def unknown(self) -> float:
        """Share of the words that are read as `<unk>`."""
        return (self.n_outside + self.n_unk) / max(self.n_words, 1)

    @property
    def alone(self) -> float:
        """Share of the sentences that are one word outside the vocabulary."""
        return self.n_alone / max(self.n_sentences, 1)


def expected_coverage(sentences: Iterable[str], *, least: int) -> Coverage:
    """Return the coverage of new text of the same kind by the words that occur at least `least` times in `sentences`.

    Leave-one-out: each occurrence is looked up in a vocabulary counted without it.
    """
    lines = list(sentences)
    counts = Counter(word for line in lines for word in split_words(line))
    return Coverage.of(lines, {word for word, count in counts.items() if count > least})


def coverage_warnings(samples: Coverage, real: Coverage, tokenizer: str = "word") -> list[str]:
    """Return at most one warning: most of the real text is unknown, or far more of the samples is, or these are empty.

    Args:
        samples: coverage of the samples.
        real: coverage of the real text.
        tokenizer: tokenizer of the samples, as in signatures; only for word tokenizers is `--tokenize` suggested.
    """
    cure = "separate the words first, as the corpus does"
    if tokenizer.endswith("word"):
        cure += ", or read raw text with --tokenize (in Python tokenize=True)"
    if real.unknown > _MOST:
        if real.alone > _MOST:
            return [f"{_spaceless('the real text', real)}; no perplexity says anything: {cure}, in both texts"]
        return [
            f"{real.unknown:.1%} of the real text's own words are read as <unk>, so that no perplexity says much: its "
            "training text is too small, or its words are not separated"
        ]
    if (empty := samples.n_empty / max(samples.n_sentences, 1)) > _POINTS:
        return [
            f"{empty:.1%} of the samples are empty lines, and each is judged as a sentence without words; remove them "
            "if they only stand between sentences"
        ]
    if samples.unknown - real.unknown <= _POINTS or samples.unknown <= _TIMES * real.unknown:
        return []
    if samples.alone > _MOST:
        return [f"{_spaceless('the samples', samples)}; the perplexity says nothing of them: {cure}"]
    beside = f"of the real text's {real.unknown:.1%}"
    if samples.n_unk > samples.n_outside:
        return [
            f"{samples.n_unk / samples.n_words:.1%} of the samples' words are <unk> as they are written, {beside}: the "
            "perplexity says nothing of what they stand for"
        ]
    return [
        f"{samples.outside:.1%} of the samples' words are outside the vocabulary and read as <unk>, {beside}: the "
        "perplexity says nothing of what they are. Are they in another case, tokenisation or file format than the "
        f"corpus? {cure[0].upper()}{cure[1:]}"
    ]


def _spaceless(what: str, coverage: Coverage) -> str:
    return (
        f"{coverage.alone:.1%} of the sentences of {what} are a single word that the vocabulary lacks, as where no "
        "blanks stand between words: each is read as one <unk>"
    )
