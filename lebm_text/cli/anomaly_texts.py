"""The sentences of `lebm-text anomaly eval`: normal ones, and sets of anomalous ones to tell them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text.errors import InputError
from lebm_text.store import sha256_file

from .judging import read_text

if TYPE_CHECKING:
    from lebm_text.reports.corruption import Corruption
    from lebm_text.text.corpora import Corpus

__all__ = ["Anomalies", "Choice", "read_anomalies"]

Fits = Callable[[str], bool]


@dataclass(frozen=True)
class Anomalies:
    """Anomalous sentences, what they are, and where they come from.

    `of`: for spoilt sentences, the places of the normal ones that they were made of.
    """

    name: str
    sentences: list[str]
    sha256: str | None = None
    of: list[int] | None = None


def read_anomalies(source: str, data_dir: Path | None) -> Anomalies:
    """The sentences of a file, or of the test split of a corpus. Raises InputError if it is neither."""
    from lebm_text.text.corpora import find_corpus

    path = Path(source)
    if path.is_file():
        return Anomalies(path.stem, list(filter(None, read_text(path))), sha256_file(path))
    split = find_corpus(source, data_dir=data_dir).splits["test"]
    return Anomalies(path.name, list(split.sentences()), split.sha256)


@dataclass(frozen=True)
class Choice:
    """Which sentences take part: `fits` says which ones every model takes; at most `n` of a kind, one seeded choice."""

    n: int | None
    seed: int
    fits: Fits

    def of(self, sentences: Sequence[str], what: str) -> list[str]:
        """The chosen sentences in their order. Raises InputError if fewer than two fit."""
        import numpy as np

        fitting = [sentence for sentence in sentences if self.fits(sentence)]
        if len(fitting) < 2:
            raise InputError(f"{what}: a contrast needs 2 sentences that all models take, found {len(fitting)}")
        order = np.random.Generator(np.random.PCG64(self.seed)).permutation(len(fitting))
        return [fitting[i] for i in sorted(order[: self.n])]

    def spoilt(self, normal: Sequence[str], corruption: Corruption, corpus: Corpus) -> Anomalies:
        """Each of the normal sentences spoilt, unless it is then too long or the same, as one word swapped is.

        Words are drawn from the training text. Raises InputError if fewer than two are left.
        """
        from lebm_text.reports.corruption import Unigrams, corrupt

        unigrams = Unigrams(corpus.splits["train"].sentences()) if corruption.kind == "replace" else None
        spoilt = corrupt(normal, corruption, unigrams, seed=self.seed)
        kept = [i for i, sentence in enumerate(spoilt) if sentence != normal[i] and self.fits(sentence)]
        if len(kept) < 2 and corruption.strength:
            raise InputError(f"{corruption}: {len(kept)} sentences are changed by it; a contrast needs 2")
        return Anomalies(str(corruption), [spoilt[i] for i in kept], of=kept)
