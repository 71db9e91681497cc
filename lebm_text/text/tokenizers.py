"""Text ⇄ ids behind one protocol: words here, `sentencepiece` beside; saved with a run, loaded without pickle.

The word tokenizer has one id a blank-separated word, over the closed vocabulary of the training text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

from .encoding import EncodedSentences, pack
from .reading import normalise
from .sentencepieces import PIECE_FILE, SentencePieceTokenizer
from .vocabulary import SPECIALS, UNK, closed_vocabulary

__all__ = ["SentencePieceTokenizer", "Tokenizer", "WordTokenizer", "closed_vocabulary", "load_tokenizer"]

WORD_FILE = "tokenizer.json"
_FORMAT = "lebm-text word tokenizer"
_VERSION = 1


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


class WordTokenizer:
    """Words ⇄ ids; ids 0 to 3 are `<pad> <unk> <s> </s>`, the words follow, most frequent first."""

    kind = "word"
    pad_id, unk_id, bos_id, eos_id = range(4)

    def __init__(self, words: Sequence[str], *, lowercase: bool = False, notices: Sequence[str] = ()) -> None:
        """`words` in the order of their ids from 4 on. Raises InputError for words that cannot be tokens."""
        self.lowercase = lowercase
        self.notices = tuple(notices)
        self._tokens = [*SPECIALS, *words]
        self._ids = {word: i for i, word in enumerate(self._tokens) if i >= len(SPECIALS)}
        if len(self._ids) != len(words):
            raise InputError("the vocabulary lists a word twice")
        for word in words:
            if word in SPECIALS or word != normalise(word) or " " in word or not word:
                raise InputError(f"the vocabulary lists {word!r}, which cannot be a word")
        # A written `<unk>` means itself; the other special tokens are never read from a text.
        self._ids[UNK] = self.unk_id
        self._unknown = repeat(self.unk_id)

    @classmethod
    def train(
        cls, sentences: Iterable[str], vocab_size: int | None = None, *, lowercase: bool = False
    ) -> WordTokenizer:
        """The tokenizer of `closed_vocabulary(sentences)`, or of its most frequent words.

        `vocab_size` is the greatest number of ids, the special ones included. `sentences` are read once.
        """
        if lowercase:
            sentences = (sentence.lower() for sentence in sentences)
        words = closed_vocabulary(sentences)[1:]
        kept = words if vocab_size is None else words[: max(0, vocab_size - len(SPECIALS))]
        return cls(kept, lowercase=lowercase)

    @classmethod
    def load(cls, directory: Path) -> WordTokenizer:
        """Read `tokenizer.json`. Raises InputError if it is missing, broken or of another format version."""
        path = directory / WORD_FILE
        try:
            stored = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is no tokenizer: not JSON ({error})") from error
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise InputError(f"{path} is no tokenizer: the entry 'format' should be {_FORMAT!r}")
        if stored.get("version") != _VERSION:
            raise InputError(
                f"{path} has format version {stored.get('version')!r}; this program reads version {_VERSION}"
            )
        words, lowercase = stored.get("words"), stored.get("lowercase")
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or not isinstance(lowercase, bool):
            raise InputError(f"{path} is broken: it needs 'words', a list of strings, and 'lowercase', true or false")
        try:
            return cls(words, lowercase=lowercase)
        except InputError as error:
            raise InputError(f"{path} is broken: {error}") from error

    def save(self, directory: Path) -> None:
        """Write `tokenizer.json` into `directory`, which must exist; equal tokenizers write equal bytes."""
        atomic_write_bytes(directory / WORD_FILE, self._to_bytes())

    def fingerprint(self) -> str:
        """SHA-256 of the saved form."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def __len__(self) -> int:
        return len(self._tokens)

    def encode(self, sentence: str) -> list[int]:
        """Ids of the words of `sentence`, without `<s>` and `</s>`; unknown words give `unk_id`."""
        sentence = normalise(sentence.lower() if self.lowercase else sentence)
        if not sentence:
            return []
        return list(map(self._ids.get, sentence.split(" "), self._unknown))

    def encode_many(self, sentences: Iterable[str]) -> EncodedSentences:
        """All `sentences` in one flat array, each closed by `</s>`: see `EncodedSentences`."""
        return pack((self.encode(sentence) for sentence in sentences), self.eos_id)

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """The words of `ids`, one blank apart; pad, bos and eos are skipped, wherever they stand.

        Raises ValueError for an id outside the vocabulary.
        """
        words = []
        for i in map(int, ids):
            if not 0 <= i < len(self._tokens):
                raise ValueError(f"token id {i} is outside the vocabulary of {len(self._tokens)}")
            if i >= len(SPECIALS) or i == self.unk_id:
                words.append(self._tokens[i])
        return " ".join(words)

    def _to_bytes(self) -> bytes:
        stored = {
            "format": _FORMAT,
            "version": _VERSION,
            "lowercase": self.lowercase,
            "words": self._tokens[len(SPECIALS) :],
        }
        return (json.dumps(stored, ensure_ascii=False, indent=0) + "\n").encode("utf-8")


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
