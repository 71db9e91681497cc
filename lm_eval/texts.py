"""The texts of an evaluation: real text, samples, and real text as judges read it under a convention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lebm_text.errors import InputError
from lebm_text.text.vocabulary import closed_vocabulary

from .base import naming
from .conventions import CONVENTIONS, Convention, close_vocabulary
from .counts import canonical_sentences

__all__ = ["RealText", "Reference", "Samples"]


@dataclass(frozen=True)
class RealText:
    """A corpus: the text to train on, the held-out `split` (test or valid), and the validation text.

    `valid` is what LSTM judges stop on; n-gram judges need none.
    """

    name: str
    train: Sequence[str]
    split: str
    held_out: Sequence[str]
    valid: Sequence[str] = ()


@dataclass(frozen=True)
class Samples:
    """Generated sentences and, for signatures, how they came about: `decode=sample,T=1` and `seed:1`, say.

    `tokenizer`: what the judges' words were made of, if a generator wrote pieces that were joined to text.
    """

    sentences: Sequence[str]
    decoding: str = ""
    details: tuple[str, ...] = ()
    tokenizer: str = "word"


class Reference:
    """A corpus as judges read it under a convention.

    Attributes:
        vocabulary: the closed vocabulary of the training text, `<unk>` among its words.
        train, held_out: sentences, closed if the convention says so.
        n_outside: tokens of the held-out text that this mapped to `<unk>`.
    """

    def __init__(self, real: RealText, convention: Convention = CONVENTIONS["default"]) -> None:
        """Raises InputError for words that no judge may read."""
        self.real = real
        self.convention = convention
        self.vocabulary = closed_vocabulary(real.train)
        self.train, _ = self.read(real.train, f"{real.name} train")
        self.held_out, self.n_outside = self.read(real.held_out, f"{real.name} {real.split}")

    @cached_property
    def valid(self) -> list[str]:
        """The validation text, read likewise. Raises InputError if there is none."""
        if self.real.split == "valid":
            return self.held_out
        if not self.real.valid:
            raise InputError(f"{self.real.name} has no validation text, which LSTM judges need")
        return self.read(self.real.valid, f"{self.real.name} valid")[0]

    def read(self, sentences: Iterable[str], source: str) -> tuple[list[str], int]:
        """Sentences as judges read them, and how many tokens that mapped to `<unk>`.

        Raises InputError, naming `source` and the line, for words that no judge may read.
        """
        with naming(source):
            if self.convention.closed:
                return close_vocabulary(sentences, self.vocabulary)
            return list(canonical_sentences(sentences)), 0
