"""The closed vocabulary of a training text, and the ids that every tokenizer shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain

__all__ = ["BOS", "EOS", "PAD", "SPECIALS", "UNK", "closed_vocabulary"]

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
SPECIALS = (PAD, UNK, BOS, EOS)
"""The special tokens in the order of their ids 0, 1, 2, 3."""


def closed_vocabulary(sentences: Iterable[str]) -> list[str]:
    """The words a model of `sentences` knows: `<unk>` first, then by falling frequency, ties by code point.

    If the text contains `<unk>` itself, somebody has closed it already: all its types. Otherwise the types
    seen at least twice, so that the singletons, read as `<unk>`, make it a trained word. `<unk>` is listed
    in either case; the other three special tokens never are. `sentences` are normalised lines.
    """
    counts = Counter(chain.from_iterable(sentence.split(" ") for sentence in sentences))
    least = 1 if UNK in counts else 2
    for special in ("", *SPECIALS):
        counts.pop(special, None)
    kept = [word for word, count in counts.items() if count >= least]
    kept.sort(key=lambda word: (-counts[word], word))
    return [UNK, *kept]
