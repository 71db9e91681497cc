"""The record in env.json of the text that a run was trained on: enough to find it again and to verify it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lebm_text.checks import from_plain
from lebm_text.errors import InputError

from .registry import SPLITS

__all__ = ["CorpusDescription", "SplitDescription"]


@dataclass(frozen=True)
class SplitDescription:
    """Path, hash and size of a split."""

    path: str
    sha256: str
    n_sentences: int
    n_words: int


@dataclass(frozen=True)
class CorpusDescription:
    """Fields of `Corpus`; `splits` are train, valid and test."""

    name: str
    origin: str
    splits: dict[str, SplitDescription]
    source: str | None = None
    made_by: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.splits.keys() != {*SPLITS}:
            raise InputError(f"corpus.splits must be {', '.join(SPLITS)}, got {', '.join(self.splits) or 'none'}")

    @classmethod
    def read(cls, plain: object) -> CorpusDescription:
        """Restore what `to_json` returned. Raises InputError for anything else."""
        return from_plain(cls, plain, "corpus")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without those that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}
