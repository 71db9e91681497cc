"""Sentences that were spoilt to a stated strength: anomalies of which it is known what is wrong with them.

swap      a share of the words change places among themselves, so that none stays: the words are right, their order not
replace   a share of the words become draws from the unigram distribution of a text: neither fits
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from lebm_text.errors import InputError

__all__ = ["KINDS", "Corruption", "Unigrams", "corrupt"]

KINDS = ("swap", "replace")


@dataclass(frozen=True)
class Corruption:
    """What is done to sentences; `strength` is the share of words that it happens to, in [0, 1]."""

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a corruption must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 <= self.strength <= 1:
            raise InputError(f"the strength of a corruption must lie in [0, 1], got {self.strength}")

    def __str__(self) -> str:
        return f"{self.kind} {self.strength:g}"


class Unigrams:
    """The words of a text and how often each occurs."""

    def __init__(self, sentences: Iterable[str]) -> None:
        """Raises InputError for a text without words."""
        counts = Counter(chain.from_iterable(sentence.split(" ") for sentence in sentences if sentence))
        if not counts:
            raise InputError("there are no words to draw from")
        self._words = sorted(counts)
        self._mass = np.cumsum([counts[word] for word in self._words])

    def draw(self, n: int, rng: np.random.Generator) -> list[str]:
        """n independent words."""
        places = np.searchsorted(self._mass, rng.integers(self._mass[-1], size=n), side="right")
        return [self._words[place] for place in places]


def corrupt(
    sentences: Sequence[str], corruption: Corruption, unigrams: Unigrams | None = None, *, seed: int = 1
) -> list[str]:
    """The sentences, spoilt; what becomes of sentence i depends on it and on (seed, kind, i) alone.

    Of n words round(strength · n) are concerned, at least one (to swap: two) where strength > 0 and there are so many.
    A replaced word may by chance be the one that was there.

    Args:
        unigrams: what words are drawn from, to replace.
    """
    if corruption.kind == "replace" and unigrams is None:
        raise ValueError("words are replaced by draws from unigrams, which are missing")
    spoilt = []
    for i, sentence in enumerate(sentences):
        words = sentence.split(" ") if sentence else []
        rng = np.random.Generator(np.random.PCG64([seed, KINDS.index(corruption.kind), i]))
        least = 2 if corruption.kind == "swap" else 1
        n = min(max(round(corruption.strength * len(words)), least), len(words)) if corruption.strength else 0
        places = rng.permutation(len(words))[:n]
        if unigrams is None or corruption.kind == "swap":
            new = [words[place] for place in np.roll(places, 1)]  # one cycle: no word keeps its place
        else:
            new = unigrams.draw(n, rng)
        for place, word in zip(places, new, strict=True):
            words[place] = word
        spoilt.append(" ".join(words))
    return spoilt
