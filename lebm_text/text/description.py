"""What env.json says of the text that a run was trained on: enough to find it again, and to see that it is the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lebm_text.checks import from_plain
from lebm_text.errors import InputError

from .registry import SPLITS

__all__ = ["CorpusDescription", "SplitDescription"]


@dataclass(frozen=True)
class SplitDescription:
    """Where a split lay, what it was, and how large."""

    path: str
    sha256: str
    n_sentences: int
    n_words: int


@dataclass(frozen=True)
class CorpusDescription:
    """As `Corpus` has them; `splits` are train, valid and test."""

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
        """The inverse of `to_json`. Raises InputError for anything else."""
        return from_plain(cls, plain, "corpus")

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}
