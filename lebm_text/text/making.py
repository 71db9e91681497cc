"""Corpora that a class of others makes: it gives sentences, which lie in the cache from then on.

A dataclass, whose fields are its settings, with a method `sentences(split)`, split being train, valid or test; one with
`labels(split)`, too, gives a label for each. It is named as `package.module:Class` or by a name that a package
registers, with settings behind commas: `lebm-text train my_package.module:Stories,n=500`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from lebm_text.errors import InputError
from lebm_text.plugins import Plugin, called, find, is_named, made_with
from lebm_text.store import atomic_write_text, cache_entry, fresh_directory

from .parts import name_of_source
from .registry import SPLITS

__all__ = ["CorpusSource", "is_made", "make_corpus"]


class CorpusSource(Protocol):
    """What makes a corpus; it is asked again each time that it is named, and must give the same."""

    def sentences(self, split: str) -> Iterable[str]:
        """Those of train, valid or test, words separated by blanks."""


def is_made(name: str) -> bool:
    """Whether this names a class that makes a corpus."""
    return is_named("corpus", name.partition(",")[0])


def make_corpus(source: str, *, trust_plugins: bool) -> tuple[Path, Plugin]:
    """The directory with its texts, newly written, and where the class is from.

    Raises:
        InputError: the class is not there, or not to be imported; other settings; what it gives is no text.
    """
    name = source.partition(",")[0]
    made: Any = made_with("corpus", source, CorpusSource, trust_plugins=trust_plugins)
    plugin = find("corpus", name, trust_plugins=trust_plugins)
    target = cache_entry("made", source, plugin.value, plugin.origin) / name_of_source(source)
    try:
        with fresh_directory(target) as fresh:
            for split in SPLITS:
                n = _write(fresh / f"{split}.txt", f"corpus = {name}: sentences of {split}", made.sentences, split)
                if hasattr(made, "labels"):
                    labels = f"corpus = {name}: labels of {split}"
                    if (n_labels := _write(fresh / f"{split}.label", labels, made.labels, split)) != n:
                        raise InputError(f"{labels}: there are {n_labels} for {n} sentences")
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    return target, plugin


def _write(path: Path, named: str, give: Any, split: str) -> int:
    """How many lines were written."""
    lines = called(named, lambda: list(give(split)))
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str) or "\n" in line:
            raise InputError(f"{named}: number {number} must be a text of one line, got {line!r:.60}")
    if not lines:
        raise InputError(f"{named}: there are none")
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)
