"""Text ⇄ ids, by words or subword pieces; a tokenizer is saved with a run and loaded without pickle.

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
import reprlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError, one_line
from lebm_text.store import atomic_write_bytes, fresh_directory

from .encoding import EncodedSentences, pack
from .escaping import escape, unescape
from .reading import Split, listed, normalise, readable, refusal, split_words

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "SPECIALS",
    "TOKENIZERS",
    "UNK",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "closed_vocabulary",
    "learn_tokenizer",
    "least_count",
    "load_tokenizer",
]

TOKENIZERS = "tokenizer.json", "spm.model", "hf-tokenizer.json"
"""The files of each kind, of which a run has one."""

UNK = "<unk>"
SPECIALS = ("<pad>", UNK, "<s>", "</s>")
"""The special tokens in the order of their ids 0, 1, 2, 3."""

_FORMAT = "lebm-text word tokenizer"
_VERSION = 1
_BLANK = "\u2581"  # how pieces spell a blank
_MAX_FILE = 1 << 28  # bytes: a run may come from an untrusted source
_NEVER_IN_A_WORD = frozenset("\0\n\r")  # not even in older runs: no text was ever read with these
# A field 1000 of the library's message, which it ignores, and its own first field, with which older files begin.
_FIELD_TAG, _PIECES = b"\xc2\x3e", b"\n"
_FIELD = re.compile(re.escape(_FIELD_TAG) + rb".lebm-text 2 (plain|lower) ([0-9a-f]{64})", re.DOTALL)
_MAX_BYTES = 16384  # longer lines are skipped in training; the library's own limit of 4192 would skip some real ones


def least_count(words: Iterable[str]) -> int:
    """Return how often a type must occur in a text with these `words` to be in its closed vocabulary.

    If `<unk>` is among them, the text has been closed already: once. Otherwise twice, so that the singletons,
    read as `<unk>`, train it.
    """
    return 1 if UNK in words else 2


def closed_vocabulary(sentences: Iterable[str]) -> list[str]:
    """Return the words a model of `sentences` knows: `<unk>` first, then by falling frequency, then code point.

    They occur `least_count` times. `<unk>` is always listed; the other three special tokens never are.
    """
    counts = Counter(chain.from_iterable(map(split_words, sentences)))
    least = least_count(counts)
    kept = [word for word, count in counts.items() if count >= least and word not in SPECIALS]
    return [UNK, *sorted(kept, key=lambda word: (-counts[word], word))]


class Tokenizer(ABC):
    """What models and training need from a tokenizer. Ids: `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3.

    Attributes:
        kind: its name in a configuration.
        file: the name of its file in a run.
        notices: for the user, about the outcome of its training, one line each.
    """

    kind: ClassVar[str]
    file: ClassVar[str]
    pad_id, unk_id, bos_id, eos_id = range(4)
    notices: tuple[str, ...] = ()

    def __init__(self, tokens: Sequence[str], content: bytes) -> None:
        """`tokens` in the order of their ids, `content` of the file."""
        self._tokens = tokens
        self._content = content

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the tokenizer's file. Raises InputError if it is missing, broken or of another format version."""
        path = directory / cls.file
        try:
            if path.stat().st_size > _MAX_FILE:
                raise InputError(f"it is larger than {_MAX_FILE >> 20} MiB, more than any vocabulary needs")
            return cls._from_bytes(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {path}: {error.strerror or error}") from error
        except InputError as error:
            raise InputError(f"{path} is broken: {error}") from error

    def save(self, directory: Path) -> None:
        """Write the tokenizer's file into `directory`, which must exist; equal tokenizers write equal bytes."""
        atomic_write_bytes(directory / self.file, self._stored())

    def _stored(self) -> bytes:
        """Return the content of the file."""
        return self._content

    def fingerprint(self) -> str:
        """Return the SHA-256 of the tokenizer: of its file without the digest that a `tokenizer.json` contains."""
        return hashlib.sha256(self._content).hexdigest()

    def __len__(self) -> int:
        """Number of ids, the special ones included."""
        return len(self._tokens)

    def encode(self, sentence: str) -> list[int]:
        """Return the ids of `sentence`, without `<s>` and `</s>`; unknown text gives `unk_id`.

        Raises InputError for anything but a string, and for one that is not valid Unicode.
        """
        if not isinstance(sentence, str):
            raise InputError(f"a sentence is a str, got {type(sentence).__name__}: {reprlib.repr(sentence)}")
        try:
            _ = sentence.isascii() or sentence.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"a sentence holds half a character, {sentence[error.start]!r} ({error.reason})") from None
        return self._encode(sentence)

    def unknown(self, sentence: str) -> list[str]:
        """The words of `sentence` that are `<unk>` to the tokenizer, in whole or in part, without `<unk>` itself."""
        return [word for word in split_words(sentence) if word != UNK and self.unk_id in self.encode(word)]

    def fits(self, sentence: str, longest: int) -> bool:
        """Return whether `sentence` has at most `longest` tokens without `</s>`. Raises InputError as `encode` does."""
        return len(self.encode(sentence)) <= longest

    def encode_many(self, sentences: Iterable[str]) -> EncodedSentences:
        """Return all `sentences` in one flat array, each closed by `</s>`. Raises InputError as `listed` does."""
        return pack(map(self._encode, listed(sentences)), self.eos_id)

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer]) -> str:
        """Return the text of `ids`; pad, bos and eos are skipped anywhere, and `unk_id` becomes the word `<unk>`.

        So does a word that no text may contain (see `reading`) but that pieces can spell: judges read the output.
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
    def _encode(self, sentence: str) -> list[int]: ...

    @abstractmethod
    def _join(self, tokens: list[str]) -> str: ...


class WordTokenizer(Tokenizer):
    """Words, separated by blanks; those of the vocabulary have the ids from 4 on, most frequent first."""

    kind = "word"
    file = "tokenizer.json"

    def __init__(self, words: Sequence[str], *, lowercase: bool = False) -> None:
        """`words` are those with the ids from 4 on, in order. Raises InputError for words that cannot be tokens."""
        stored = {"format": _FORMAT, "version": _VERSION, "lowercase": lowercase, "words": list(words)}
        try:
            content = (json.dumps(stored, ensure_ascii=False, indent=0) + "\n").encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the vocabulary lists a word with half a character ({error.reason})") from None
        # Older runs may have a word that is refused today.
        super().__init__([*SPECIALS, *(UNK if refusal(word) else word for word in words)], content)
        self.lowercase = lowercase
        self._ids = {word: i for i, word in enumerate(words, len(SPECIALS))}
        if len(self._ids) != len(words):
            raise InputError("the vocabulary lists a word twice")
        for word in words:
            if word in SPECIALS or split_words(word) != [word] or not _NEVER_IN_A_WORD.isdisjoint(word):
                raise InputError(f"the vocabulary lists {reprlib.repr(word)}, which cannot be a word")
        # A literal `<unk>` means itself; the other special tokens are never read from a text.
        self._ids[UNK] = self.unk_id
        self._unknown = repeat(self.unk_id)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int | None = None, *, lowercase: bool = False) -> Self:
        """Return the tokenizer of `closed_vocabulary(sentences)`, or of its most frequent words.

        `vocab_size` is the maximum number of ids, the special ones included. `lowercase` also holds for `encode`.
        """
        words = closed_vocabulary(map(str.lower, sentences) if lowercase else sentences)[1:]
        return cls(words if vocab_size is None else words[: max(0, vocab_size - len(SPECIALS))], lowercase=lowercase)

    def _encode(self, sentence: str) -> list[int]:
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
        tokenizer = cls(words, lowercase=lowercase)
        if stored.get("sha256", tokenizer.fingerprint()) != tokenizer.fingerprint():  # older files have none
            raise InputError("it is not as it was written: its content does not have the sha256 that it holds")
        return tokenizer

    def _stored(self) -> bytes:
        digest = json.dumps({"sha256": self.fingerprint()}, indent=0).removesuffix("\n}")
        return f"{digest},".encode() + self._content.removeprefix(b"{")

    def _join(self, tokens: list[str]) -> str:
        return " ".join(tokens)


class SentencePieceTokenizer(Tokenizer):
    """Subword pieces. The word `<unk>` in a text is `unk_id`.

    The file is a model of the library preceded by a field that the library ignores. The field states whether text is
    lower-cased, as judges read it, and the SHA-256 of the model. A model without it is of an earlier version: it
    folds case, if at all, by NFKC inside the library, and takes text without `escape`.
    """

    kind = "sentencepiece"
    file = "spm.model"

    def __init__(self, content: bytes) -> None:
        """`content` of a `spm.model`. Raises InputError if it is not one of ours."""
        from sentencepiece import SentencePieceProcessor

        field = _FIELD.match(content)
        self._escapes, self.lowercase = field is not None, field is not None and field[1] == b"lower"
        if field is None and not content.startswith(_PIECES):
            raise InputError("not a sentencepiece model, or one of a later version")
        if field is not None and hashlib.sha256(content[field.end() :]).hexdigest().encode() != field[2]:
            raise InputError("it is not as it was written: the model does not have the sha256 that stands before it")
        try:
            self._processor = SentencePieceProcessor(model_proto=content)
            pieces = list(map(self._processor.id_to_piece, range(self._processor.get_piece_size())))
        except (RuntimeError, OSError, ValueError) as error:  # UnicodeDecodeError among them
            raise InputError("not a sentencepiece model") from error
        if tuple(pieces[: len(SPECIALS)]) != SPECIALS:
            raise InputError(f"the sentencepiece model must have {' '.join(SPECIALS)} as ids 0 to 3")
        super().__init__(pieces, content)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 8000, *, lowercase: bool = False) -> Self:
        """Train on normalised lines; `vocab_size` counts all ids, and `lowercase` also holds for `encode`.

        A text too small for `vocab_size` gives the largest model that the library can make of it, and a line in
        `notices`. Training uses one thread, so that the same text gives the same bytes, and skips lines over 16 KiB.
        Raises InputError if `vocab_size` has no room for the characters of the text.
        """
        import sentencepiece

        # `<unk>` has its own id: pieces are learned from the text between such words.
        text = map(str.lower, sentences) if lowercase else sentences
        lines = (escape(part) for sentence in text for part in _split_at_unk(sentence) if part != UNK)
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
                normalization_rule_name="identity",
                max_sentence_length=_MAX_BYTES,
                num_threads=1,
                minloglevel=2,
                **specials,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(_explain(str(error), vocab_size)) from error
        digest = hashlib.sha256(model.getvalue()).hexdigest()
        field = f"lebm-text 2 {'lower' if lowercase else 'plain'} {digest}".encode()
        tokenizer = cls(_FIELD_TAG + bytes([len(field)]) + field + model.getvalue())
        if len(tokenizer) < vocab_size:
            tokenizer.notices = (
                f"the training text yields {len(tokenizer)} pieces at most; "
                f"the vocabulary has that many instead of {vocab_size}",
            )
        return tokenizer

    def _encode(self, sentence: str) -> list[int]:
        ids: list[int] = []
        for part in _split_at_unk(normalise(sentence.lower() if self.lowercase else sentence)):
            if part == UNK:
                ids.append(self.unk_id)
            else:
                ids.extend(self._processor.encode(escape(part) if self._escapes else part))
        return ids

    @classmethod
    def _from_bytes(cls, content: bytes) -> Self:
        return cls(content)

    def _join(self, tokens: list[str]) -> str:
        text = "".join(f"{_BLANK}{UNK}{_BLANK}" if token == UNK else token for token in tokens)
        text = normalise(text.replace(_BLANK, " "))
        return readable(unescape(text) if self._escapes else text)


def _split_at_unk(sentence: str) -> Iterable[str]:
    """Return the runs of words of a normalised sentence and, separately, each `<unk>` between them."""
    if UNK not in sentence:
        return (sentence,)
    runs = groupby(split_words(sentence), UNK.__eq__)
    return chain.from_iterable(words if is_unk else (" ".join(words),) for is_unk, words in runs)


def _explain(message: str, vocab_size: int) -> str:
    """Turn the library's error into one line that suggests a remedy."""
    if needed := re.search(rf"required_chars\. {vocab_size} vs (\d+)", message):
        needs = f"the characters of the training text and the special tokens need {needed[1]} at least"
        return f"vocab_size {vocab_size} is too small: {needs}"
    if "!sentences_.empty()" in message:
        return "the training text is too short for sentencepiece; give more of it, or use the word tokenizer"
    return f"sentencepiece cannot train with vocab_size {vocab_size}: {one_line(message)}"


def learn_tokenizer(split: Split, kind: str, settings: object, learn: Callable[[], Tokenizer]) -> Tokenizer:
    """Return `learn()`, or its earlier result for the same `split`, `kind` and `settings`, from the cache.

    `settings` (JSON) is everything else that `learn` depends on. A tokenizer with notices is not cached, since its file
    does not contain them; nor is any if the cache is not writable.
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
    from .pretrained import PretrainedTokenizer

    kinds: tuple[type[Tokenizer], ...] = (WordTokenizer, SentencePieceTokenizer, PretrainedTokenizer)
    found = [kind for kind in kinds if (directory / kind.file).exists()]
    if len(found) > 1:
        there = " and ".join(kind.file for kind in found)
        raise InputError(f"{directory} holds {there}; a run has one tokenizer, remove the other")
    if not found:
        raise InputError(f"{directory} holds no tokenizer: neither {' nor '.join(TOKENIZERS)}")
    return found[0].load(directory)
