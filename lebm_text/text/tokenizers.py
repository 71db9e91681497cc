"""Text ⇄ ids, by words or by pieces of words; a tokenizer is saved with a run and loaded without pickle.

`WordTokenizer` has one id for each word of the closed vocabulary of the training text. `SentencePieceTokenizer`, for
raw text, is a unigram model trained on it (Kudo and Richardson 2018, "SentencePiece"; Kudo 2018, "Subword
Regularization").
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes, fresh_directory

from .encoding import EncodedSentences, pack
from .reading import Split, normalise, split_words

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "SPECIALS",
    "UNK",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "closed_vocabulary",
    "learn_tokenizer",
    "load_tokenizer",
]

UNK = "<unk>"
SPECIALS = ("<pad>", UNK, "<s>", "</s>")
"""The special tokens in the order of their ids 0, 1, 2, 3."""

_FORMAT = "lebm-text word tokenizer"
_VERSION = 1
_BLANK = "\u2581"  # how pieces spell a blank
_MAX_BYTES = 16384  # longer lines teach no pieces; the library's own limit of 4192 would skip some real ones


def closed_vocabulary(sentences: Iterable[str]) -> list[str]:
    """The words a model of `sentences` knows: `<unk>` first, then by falling frequency, ties by code point.

    If the text contains `<unk>` itself, somebody has closed it already: all its types. Otherwise the types
    seen at least twice, so that the singletons, read as `<unk>`, make it a trained word. `<unk>` is listed
    in either case; the other three special tokens never are.
    """
    counts = Counter(chain.from_iterable(map(split_words, sentences)))
    least = 1 if UNK in counts else 2
    kept = [word for word, count in counts.items() if count >= least and word not in SPECIALS]
    return [UNK, *sorted(kept, key=lambda word: (-counts[word], word))]


class Tokenizer(ABC):
    """What models and training need to know of a tokenizer. Ids: `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3.

    Attributes:
        kind: its name in a configuration.
        file: the name of its file in a run.
        notices: what the user should know of how it came out, one line each.
    """

    kind: ClassVar[str]
    file: ClassVar[str]
    pad_id, unk_id, bos_id, eos_id = range(4)

    def __init__(self, tokens: Sequence[str], content: bytes, notices: Sequence[str] = ()) -> None:
        """`tokens` in the order of their ids, `content` of the file."""
        self.notices = tuple(notices)
        self._tokens = tokens
        self._content = content

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the tokenizer's file. Raises InputError if it is missing, broken or of another format version."""
        path = directory / cls.file
        try:
            return cls._from_bytes(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror or error}") from error
        except InputError as error:
            raise InputError(f"{path} is broken: {error}") from error

    def save(self, directory: Path) -> None:
        """Write the tokenizer's file into `directory`, which must exist; equal tokenizers write equal bytes."""
        atomic_write_bytes(directory / self.file, self._content)

    def fingerprint(self) -> str:
        """SHA-256 of that file."""
        return hashlib.sha256(self._content).hexdigest()

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self._tokens)

    @abstractmethod
    def encode(self, sentence: str) -> list[int]:
        """Ids of `sentence`, without `<s>` and `</s>`."""

    def encode_many(self, sentences: Iterable[str]) -> EncodedSentences:
        """All `sentences` in one flat array, each closed by `</s>`."""
        return pack(map(self.encode, sentences), self.eos_id)

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """Text of `ids`; pad, bos and eos are skipped, wherever they stand, and `unk_id` reads as the word `<unk>`.

        Raises ValueError for an id outside the vocabulary.
        """
        tokens = []
        for i in map(int, ids):
            if not 0 <= i < len(self):
                raise ValueError(f"token id {i} is outside the vocabulary of {len(self)}")
            if i >= len(SPECIALS) or i == self.unk_id:
                tokens.append(self._tokens[i])
        return self._join(tokens)

    @classmethod
    @abstractmethod
    def _from_bytes(cls, content: bytes) -> Self: ...

    @abstractmethod
    def _join(self, tokens: list[str]) -> str: ...


class WordTokenizer(Tokenizer):
    """Words, blank-separated; those of the vocabulary have the ids from 4 on, most frequent first."""

    kind = "word"
    file = "tokenizer.json"

    def __init__(self, words: Sequence[str], *, lowercase: bool = False, notices: Sequence[str] = ()) -> None:
        """`words` in the order of their ids from 4 on. Raises InputError for words that cannot be tokens."""
        stored = {"format": _FORMAT, "version": _VERSION, "lowercase": lowercase, "words": list(words)}
        content = (json.dumps(stored, ensure_ascii=False, indent=0) + "\n").encode()
        super().__init__([*SPECIALS, *words], content, notices)
        self.lowercase = lowercase
        self._ids = {word: i for i, word in enumerate(words, len(SPECIALS))}
        if len(self._ids) != len(words):
            raise InputError("the vocabulary lists a word twice")
        for word in words:
            if word in SPECIALS or word != normalise(word) or " " in word or not word:
                raise InputError(f"the vocabulary lists {word!r}, which cannot be a word")
        # A written `<unk>` means itself; the other special tokens are never read from a text.
        self._ids[UNK] = self.unk_id
        self._unknown = repeat(self.unk_id)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int | None = None, *, lowercase: bool = False) -> Self:
        """The tokenizer of `closed_vocabulary(sentences)`, or of its most frequent words.

        `vocab_size` is the greatest number of ids, the special ones included. `sentences` are read once.
        """
        words = closed_vocabulary(map(str.lower, sentences) if lowercase else sentences)[1:]
        return cls(words if vocab_size is None else words[: max(0, vocab_size - len(SPECIALS))], lowercase=lowercase)

    def encode(self, sentence: str) -> list[int]:
        """Ids of the words of `sentence`, without `<s>` and `</s>`; unknown words give `unk_id`."""
        words = split_words(sentence.lower() if self.lowercase else sentence)
        return list(map(self._ids.get, words, self._unknown))

    @classmethod
    def _from_bytes(cls, content: bytes) -> Self:
        try:
            stored = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON ({error})") from error
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise InputError(f"the entry 'format' should be {_FORMAT!r}")
        if stored.get("version") != _VERSION:
            raise InputError(f"it has format version {stored.get('version')!r}; this program reads version {_VERSION}")
        words, lowercase = stored.get("words"), stored.get("lowercase")
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words) or not isinstance(lowercase, bool):
            raise InputError("it needs 'words', a list of strings, and 'lowercase', true or false")
        return cls(words, lowercase=lowercase)

    def _join(self, tokens: list[str]) -> str:
        return " ".join(tokens)


class SentencePieceTokenizer(Tokenizer):
    """Pieces of words. The word `<unk>` in a text is `unk_id`."""

    kind = "sentencepiece"
    file = "spm.model"

    def __init__(self, model: bytes) -> None:
        """`model` is the content of a `spm.model`. Raises InputError if it is not one of ours."""
        from sentencepiece import SentencePieceProcessor

        # Empty input would leave a processor without a model, which logs to stderr whenever it is asked anything.
        if not model:
            raise InputError("the sentencepiece model is empty")
        try:
            self._processor = SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError("not a sentencepiece model") from error
        pieces = list(map(self._processor.id_to_piece, range(self._processor.get_piece_size())))
        if tuple(pieces[: len(SPECIALS)]) != SPECIALS:
            raise InputError(f"the sentencepiece model must have {' '.join(SPECIALS)} as ids 0 to 3")
        super().__init__(pieces, model)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 8000, *, lowercase: bool = False) -> Self:
        """Train on normalised lines; `vocab_size` counts all ids, the special ones included.

        A text too small for `vocab_size` gives the largest model the library can make of it, and a line in
        `notices`. The text is taken as it is; with `lowercase`, the model itself applies NFKC and case
        folding. One thread, so that the same text gives the same bytes. Lines over 16 KiB are passed over.
        Raises InputError if `vocab_size` has no room for the characters of the text.
        """
        import sentencepiece

        # `<unk>` has an id of its own: pieces are learned from what stands between such words.
        lines = (part for sentence in sentences for part in _split_at_unk(sentence) if part != UNK)
        names, model = ("pad", "unk", "bos", "eos"), io.BytesIO()
        specials: dict[str, Any] = {f"{name}_id": i for i, name in enumerate(names)}
        specials |= {f"{name}_piece": piece for name, piece in zip(names, SPECIALS, strict=True)}
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines,
                model_writer=model,
                model_type="unigram",
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="nfkc_cf" if lowercase else "identity",
                max_sentence_length=_MAX_BYTES,
                num_threads=1,
                minloglevel=2,
                **specials,
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

    def encode(self, sentence: str) -> list[int]:
        """Ids of the pieces of `sentence`, without `<s>` and `</s>`."""
        ids: list[int] = []
        for part in _split_at_unk(normalise(sentence)):
            ids.extend([self.unk_id] if part == UNK else self._processor.encode(part))
        return ids

    @classmethod
    def _from_bytes(cls, content: bytes) -> Self:
        return cls(content)

    def _join(self, tokens: list[str]) -> str:
        text = "".join(f"{_BLANK}{UNK}{_BLANK}" if token == UNK else token for token in tokens)
        return normalise(text.replace(_BLANK, " "))


def _split_at_unk(sentence: str) -> Iterable[str]:
    """The runs of words of a normalised sentence, and each `<unk>` between them by itself."""
    if UNK not in sentence:
        return (sentence,)
    runs = groupby(split_words(sentence), UNK.__eq__)
    return chain.from_iterable(words if is_unk else (" ".join(words),) for is_unk, words in runs)


def _explain(message: str, vocab_size: int) -> str:
    """The library's complaint as one line that says what to do."""
    if needed := re.search(rf"required_chars\. {vocab_size} vs (\d+)", message):
        needs = f"the characters of the training text and the special tokens need {needed[1]} at least"
        return f"vocab_size {vocab_size} is too small: {needs}"
    if "!sentences_.empty()" in message:
        return "the training text is too short for sentencepiece; give more of it, or use the word tokenizer"
    return f"sentencepiece cannot train with vocab_size {vocab_size}: {' '.join(message.split())}"


def learn_tokenizer(split: Split, kind: str, settings: object, learn: Callable[[], Tokenizer]) -> Tokenizer:
    """`learn()`, or what it gave for a text, kind and settings (JSON) that were the same: `<cache>/tokenizers/<key>/`.

    A tokenizer that comes with notices is not kept, since its file does not hold them; nor is any in a cache that
    cannot be written: nothing but time is lost.
    """
    library = importlib.metadata.version("sentencepiece") if kind == "sentencepiece" else None
    directory = split.cache_entry("tokenizers", kind, settings, library)
    if directory is None:
        return learn()
    with suppress(InputError, OSError):
        return load_tokenizer(directory)
    tokenizer = learn()
    if not tokenizer.notices:
        with suppress(OSError), fresh_directory(directory) as fresh:
            tokenizer.save(fresh)
            split.require_unchanged()
    return tokenizer


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer saved in `directory`. Raises InputError if there is none, or a broken one."""
    kinds: tuple[type[Tokenizer], ...] = (WordTokenizer, SentencePieceTokenizer)
    found = [kind for kind in kinds if (directory / kind.file).exists()]
    names = [kind.file for kind in kinds]
    if len(found) > 1:
        raise InputError(f"{directory} holds {' and '.join(names)}; a run has one tokenizer, remove the other")
    if not found:
        raise InputError(f"{directory} holds no tokenizer: neither {' nor '.join(names)}")
    return found[0].load(directory)
