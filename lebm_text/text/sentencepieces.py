"""Subword tokenizer: a unigram sentencepiece model trained on the training split, for raw text.

Kudo and Richardson 2018, "SentencePiece"; Kudo 2018, "Subword Regularization" (the unigram model).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes

from .encoding import EncodedSentences, pack
from .reading import normalise
from .vocabulary import BOS, EOS, PAD, SPECIALS, UNK

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

__all__ = ["PIECE_FILE", "SentencePieceTokenizer"]

PIECE_FILE = "spm.model"
_BLANK = "\u2581"  # how pieces spell a blank
_MAX_BYTES = 16384  # longer lines teach no pieces; the library's own limit of 4192 would skip some real ones


class SentencePieceTokenizer:
    """Pieces ⇄ ids; ids 0 to 3 are `<pad> <unk> <s> </s>`. The word `<unk>` in a text is `unk_id`."""

    kind = "sentencepiece"
    pad_id, unk_id, bos_id, eos_id = range(4)

    def __init__(self, model: bytes, *, notices: tuple[str, ...] = ()) -> None:
        """`model` is the content of a `spm.model`. Raises InputError if it is not one of ours."""
        self.notices = notices
        self._model = model
        self._processor = _load_processor(model)
        self._size: int = self._processor.get_piece_size()
        self._pieces = [self._processor.id_to_piece(i) for i in range(self._size)]
        if tuple(self._pieces[: len(SPECIALS)]) != SPECIALS:
            raise InputError(f"the sentencepiece model must have {' '.join(SPECIALS)} as ids 0 to 3")

    @classmethod
    def train(
        cls, sentences: Iterable[str], vocab_size: int = 8000, *, lowercase: bool = False
    ) -> SentencePieceTokenizer:
        """Train on normalised lines; `vocab_size` counts all ids, the special ones included.

        A text too small for `vocab_size` gives the largest model the library can make of it, and a line in
        `notices`. The text is taken as it is; with `lowercase`, the model itself applies NFKC and case
        folding. One thread, so that the same text gives the same bytes. Lines over 16 KiB are passed over.
        Raises InputError if `vocab_size` has no room for the characters of the text.
        """
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_training_lines(sentences),
                model_writer=model,
                model_type="unigram",
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="nfkc_cf" if lowercase else "identity",
                max_sentence_length=_MAX_BYTES,
                num_threads=1,
                pad_id=cls.pad_id,
                unk_id=cls.unk_id,
                bos_id=cls.bos_id,
                eos_id=cls.eos_id,
                pad_piece=PAD,
                unk_piece=UNK,
                bos_piece=BOS,
                eos_piece=EOS,
                minloglevel=2,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(_explain(str(error), vocab_size)) from error
        tokenizer = cls(model.getvalue())
        if len(tokenizer) < vocab_size:
            tokenizer.notices = (
                f"the training text yields {len(tokenizer)} pieces at most; "
                f"the vocabulary has that many instead of {vocab_size}",
            )
        return tokenizer

    @classmethod
    def load(cls, directory: Path) -> SentencePieceTokenizer:
        """Read `spm.model`. Raises InputError if it is missing or broken."""
        path = directory / PIECE_FILE
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror or error}") from error
        except InputError as error:
            raise InputError(f"{path} is broken: {error}") from error

    def save(self, directory: Path) -> None:
        """Write `spm.model` into `directory`, which must exist."""
        atomic_write_bytes(directory / PIECE_FILE, self._model)

    def fingerprint(self) -> str:
        """SHA-256 of the saved form."""
        return hashlib.sha256(self._model).hexdigest()

    def __len__(self) -> int:
        return self._size

    def encode(self, sentence: str) -> list[int]:
        """Ids of the pieces of `sentence`, without `<s>` and `</s>`."""
        sentence = normalise(sentence)
        if UNK not in sentence:
            return list(self._processor.encode(sentence))
        ids: list[int] = []
        for part in _split_at_unk(sentence):
            ids.extend([self.unk_id] if part == UNK else self._processor.encode(part))
        return ids

    def encode_many(self, sentences: Iterable[str]) -> EncodedSentences:
        """All `sentences` in one flat array, each closed by `</s>`: see `EncodedSentences`."""
        return pack((self.encode(sentence) for sentence in sentences), self.eos_id)

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """The text of `ids`; pad, bos and eos are skipped, `unk_id` reads as the word `<unk>`.

        Raises ValueError for an id outside the vocabulary.
        """
        pieces = []
        for i in map(int, ids):
            if not 0 <= i < self._size:
                raise ValueError(f"token id {i} is outside the vocabulary of {self._size}")
            if i == self.unk_id:
                pieces.append(f"{_BLANK}{UNK}{_BLANK}")
            elif i >= len(SPECIALS):
                pieces.append(self._pieces[i])
        return normalise("".join(pieces).replace(_BLANK, " "))


def _load_processor(model: bytes) -> SentencePieceProcessor:
    from sentencepiece import SentencePieceProcessor

    # Empty input would leave a processor without a model, which logs to stderr whenever it is asked anything.
    if not model:
        raise InputError("the sentencepiece model is empty")
    processor = SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError("not a sentencepiece model") from error
    return processor


def _training_lines(sentences: Iterable[str]) -> Iterator[str]:
    """Lines to learn pieces from: what stands between the words `<unk>`, which have an id of their own."""
    for sentence in sentences:
        if UNK not in sentence:
            yield sentence
        else:
            yield from (part for part in _split_at_unk(sentence) if part != UNK)


def _split_at_unk(sentence: str) -> Iterator[str]:
    """The runs of words of a normalised sentence, and each word `<unk>` between them by itself."""
    run: list[str] = []
    for word in sentence.split(" "):
        if word != UNK:
            run.append(word)
            continue
        if run:
            yield " ".join(run)
            run = []
        yield UNK
    if run:
        yield " ".join(run)


def _explain(message: str, vocab_size: int) -> str:
    """The library's complaint as one line that says what to do."""
    if needed := re.search(rf"required_chars\. {vocab_size} vs (\d+)", message):
        return (
            f"vocab_size {vocab_size} is too small: the characters of the training text and the special "
            f"tokens need {needed[1]} at least"
        )
    if "!sentences_.empty()" in message:
        return "the training text is too short for sentencepiece; give more of it, or use the word tokenizer"
    return f"sentencepiece cannot train with vocab_size {vocab_size}: {' '.join(message.split())}"
