"""Corpora made by plug-in classes, which yield sentences that are stored in the cache.

Such a class is a dataclass whose fields are its settings, with a method `sentences(split)` for train, valid and test
and optionally `labels(split)`, one label per sentence. It is named as `package.module:Class` or by a name that a
package registers, with settings after commas: `lebm-text train my_package.module:Stories,n=500`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from lebm_text.errors import InputError
from lebm_text.plugins import Plugin, called, is_named, made_with
from lebm_text.store import atomic_write_text, cache_entry, fresh_directory, sha256_file, writing_cache

from .parts import name_of_source
from .reading import listed
from .registry import SPLITS

__all__ = ["CorpusSource", "is_made", "make_corpus"]


class CorpusSource(Protocol):
    """Makes a corpus; it is called each time the corpus is named and must always yield the same."""

    def sentences(self, split: str) -> Iterable[str]:
        """Yield the sentences of train, valid or test, words separated by blanks."""


def is_made(name: str) -> bool:
    """Return whether this names a class that makes a corpus."""
    return is_named("corpus", name.partition(",")[0])


def make_corpus(source: str, *, trust_plugins: bool) -> tuple[Path, Plugin]:
    """Write the texts of a plug-in corpus, unless they are there; return their directory and the plug-in.

    The directory belongs to these very texts: what an earlier version of the class made stays where it is.

    Raises:
        InputError: the class cannot be found or may not be imported, a setting is wrong, it yields invalid text, or the
            cache cannot be written.
    """
    name = source.partition(",")[0]
    made, plugin = made_with("corpus", source, CorpusSource, trust_plugins=trust_plugins)
    texts = dict[str, str]()
    for split in SPLITS:
        texts[f"{split}.txt"] = _text(f"corpus = {name}: sentences of {split}", made.sentences, split)
        if hasattr(made, "labels"):
            labels = f"corpus = {name}: labels of {split}"
            texts[f"{split}.label"] = _text(labels, made.labels, split)
            n_labels, n = (texts[f"{split}.{ending}"].count("\n") for ending in ("label", "txt"))
            if n_labels != n:
                raise InputError(f"{labels}: there are {n_labels} for {n} sentences")
    hashes = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()}
    target = cache_entry("made", source, plugin.entry.value, plugin.origin, hashes) / name_of_source(source)
    with suppress(OSError):  # another process may be reading what is there: a replacement would take it away
        if all(sha256_file(target / file) == digest for file, digest in hashes.items()):
            return target, plugin
    with writing_cache(target.parent), fresh_directory(target) as fresh:
        for file, text in texts.items():
            atomic_write_text(fresh / file, text)
    return target, plugin


def _text(named: str, give: Any, split: str) -> str:
    """Return the lines of a split as one text."""
    lines = called(named, lambda: list(listed(give(split), named, raw=True)))
    for number, line in enumerate(lines, 1):
        if "\n" in line:
            raise InputError(f"{named}: number {number} must be a text of one line, got {line!r:.60}")
    if not lines:
        raise InputError(f"{named}: there are none")
    return "".join(f"{line}\n" for line in lines)
