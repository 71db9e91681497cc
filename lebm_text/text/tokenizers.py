"""Text ⇄ ids behind one protocol: `word` and `sentencepiece`; saved with a run, loaded without pickle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from .encoding import EncodedSentences
from .errors import InputError
from .sentencepieces import PIECE_FILE, SentencePieceTokenizer
from .vocabulary import closed_vocabulary
from .word import WORD_FILE, WordTokenizer

__all__ = [
    "EncodedSentences",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "closed_vocabulary",
    "load_tokenizer",
]


class Tokenizer(Protocol):
    """What models and training need to know of a tokenizer. Ids: `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3."""

    kind: str
    pad_id: int
    unk_id: int
    bos_id: int
    eos_id: int

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of how this tokenizer came out, one line each."""

    def __len__(self) -> int:
        """Number of ids, the special ones included."""

    def encode(self, sentence: str) -> list[int]:
        """Ids of `sentence`, without `<s>` and `</s>`."""

    def encode_many(self, sentences: Iterable[str]) -> EncodedSentences:
        """All `sentences` in one flat array, each closed by `</s>`."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; pad, bos and eos are skipped, wherever they stand."""

    def save(self, directory: Path) -> None:
        """Write the tokenizer's file into `directory`."""

    def fingerprint(self) -> str:
        """SHA-256 of that file."""


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer saved in `directory`. Raises InputError if there is none, or a broken one."""
    word, piece = (directory / WORD_FILE).exists(), (directory / PIECE_FILE).exists()
    if word and piece:
        raise InputError(f"{directory} holds {WORD_FILE} and {PIECE_FILE}; a run has one tokenizer, remove the other")
    if piece:
        return SentencePieceTokenizer.load(directory)
    if word:
        return WordTokenizer.load(directory)
    raise InputError(f"{directory} holds no tokenizer: neither {WORD_FILE} nor {PIECE_FILE}")
