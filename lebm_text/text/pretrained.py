"""The files of a pretrained decoder, and its tokenizer as a `Tokenizer`.

A vocabulary here begins with `<pad>`, `<unk>`, `<s>`, `</s>`. Piece i of the decoder has the id 4 + i; only the pieces
for the beginning, the end and unknown words have the ids of ours instead, so that each piece has one id and
probabilities sum to 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lebm_text.errors import InputError, one_line
from lebm_text.store import sha256_file, sha256_json

from .fetching import is_offline, no_answer
from .reading import normalise, readable
from .tokenizers import SPECIALS, UNK, Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PretrainedTokenizer", "Specials", "decoder_directory", "decoder_sha256", "needing", "specials_of"]

_FORMAT = "lebm-text pretrained tokenizer"
_VERSION = 1
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]  # no pickles


class Specials(NamedTuple):
    """The decoder's ids for beginning, end and unknown; the last is None if the decoder has no unknown token."""

    bos: int
    eos: int
    unk: int | None

    def ours(self) -> dict[int, int]:
        """Map the decoder's ids of pieces whose id here is not 4 + their own to the id here."""
        found = {self.bos: Tokenizer.bos_id, self.eos: Tokenizer.eos_id}  # the end wins where both are one piece
        return found if self.unk is None else {self.unk: Tokenizer.unk_id} | found


@contextmanager
def needing(package: str, what: str) -> Iterator[None]:
    """Turn any failure of `package`, imported and reading `what` inside, into a one-line InputError."""
    try:
        with redirect_stderr(StringIO()):  # hides its progress bars and advice
            yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{what} needs {error.name or package}: pip install 'lebm-text[hf]'") from error
    except Exception as error:  # the library tokenizers raises nothing more special
        own = "trust_remote_code" in str(error)
        why = "it needs program code of its own, which is not run" if own else one_line(error, 300)
        raise InputError(f"{what} cannot be read: {why}") from error


def decoder_directory(source: str) -> Path:
    """Return the directory of a decoder's files: `source`, or the local copy of a model of the Hugging Face Hub.

    Raises:
        InputError: there is neither, or there are no safetensors weights.
    """
    directory = Path(source)
    if not directory.is_dir():
        if directory.is_absolute() or source.startswith("."):
            raise InputError(f"model.generator = hf:{source}: there is no such directory")
        with needing("huggingface_hub", f"model.generator = hf:{source}"):
            from huggingface_hub import snapshot_download

            away, why = is_offline(), no_answer(source)
            try:
                found = snapshot_download(source, allow_patterns=_FILES, local_files_only=away or bool(why))
            except OSError as error:
                if not why:
                    raise
                raise OSError(f"{why}; its cache holds no copy") from error
        directory = Path(found)
    if not (directory / "config.json").is_file() or not any(directory.glob("*.safetensors")):
        raise InputError(
            f"model.generator = hf:{source} needs config.json and weights as .safetensors, which lack there"
        )
    return directory


def decoder_sha256(directory: Path, source: str) -> str:
    """Return the hash of configuration, weights and special ids of a decoder. Raises as `specials_of` does."""
    files = [directory / "config.json", *sorted(directory.glob("*.safetensors"))]
    specials = list(specials_of(directory, source)[1])
    return sha256_json({file.name: sha256_file(file) for file in files} | {"specials": specials})


def specials_of(directory: Path, source: str) -> tuple[Any, Specials]:
    """Return the decoder's own tokenizer, a fast one of `transformers`, and its special ids.

    Raises:
        InputError: it has no such tokenizer, or one without an end token.
    """
    with needing("transformers", f"model.generator = hf:{source}"):
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        eos, bos, unk = tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id
    if backend is None or eos is None:
        what = "no fast tokenizer" if backend is None else "a tokenizer without a piece that ends a text"
        raise InputError(f"model.generator = hf:{source} has {what}")
    bos = eos if bos is None else bos
    return backend, Specials(bos, eos, None if unk in (bos, eos) else unk)


class PretrainedTokenizer(Tokenizer):
    """The tokenizer of a pretrained decoder. `<unk>` is spelled in pieces if the decoder has no unknown token."""

    kind = "hf"
    file = "hf-tokenizer.json"

    def __init__(self, content: bytes) -> None:
        """`content` of the file. Raises InputError if it is not a valid one."""
        from tokenizers import Tokenizer as Backend

        try:
            stored = json.loads(content)
            if not isinstance(stored, dict) or (stored["format"], stored["version"]) != (_FORMAT, _VERSION):
                raise InputError(f"it should have the format {_FORMAT!r}, version {_VERSION}")
            digest = stored.pop("sha256")
            if digest != sha256_json(stored):
                raise InputError("it is not as it was written: its content does not have the sha256 that it holds")
            self.lowercase, self.specials = bool(stored["lowercase"]), Specials(*stored["specials"])
            self._backend = Backend.from_str(stored["tokenizer"])
        except InputError:
            raise
        except Exception as error:  # as in `needing`
            raise InputError(f"not a tokenizer, or one of a later version ({one_line(error)})") from error
        self._backend.encode_special_tokens = True  # special tokens spelled out in a text are ordinary text
        self._backend.no_padding()
        self._backend.no_truncation()
        n = 1 + max(self._backend.get_vocab(with_added_tokens=True).values())  # there may be gaps
        super().__init__([*SPECIALS, *(self._backend.id_to_token(i) or "" for i in range(n))], content)
        self._ours = self.specials.ours()
        self._theirs = {ours: theirs for theirs, ours in self._ours.items()}

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the tokenizer's file. Raises InputError as `Tokenizer.load` does, and without the library tokenizers."""
        with needing("tokenizers", str(directory / cls.file)):
            return super().load(directory)

    @classmethod
    def of(cls, source: str, *, lowercase: bool = False) -> Self:
        """Return the tokenizer of the decoder `source`, as in `model.generator = hf:SOURCE`, or raise InputError."""
        backend, specials = specials_of(decoder_directory(source), source)
        stored = {"format": _FORMAT, "version": _VERSION, "lowercase": lowercase, "specials": list(specials)}
        stored["tokenizer"] = backend.to_str()
        return cls(json.dumps({**stored, "sha256": sha256_json(stored)}).encode())

    def _encode(self, sentence: str) -> list[int]:
        text = normalise(sentence.lower() if self.lowercase else sentence)
        found = self._backend.encode(text, add_special_tokens=False).ids
        return [self._ours.get(i, i + len(SPECIALS)) for i in found]

    @classmethod
    def _from_bytes(cls, content: bytes) -> Self:
        return cls(content)

    def _join(self, tokens: list[str]) -> str:
        parts = []
        for unknown, run in groupby(tokens, UNK.__eq__):
            pieces = [token for token in run if token]
            ids: list[Any] = [self._backend.token_to_id(token) for token in pieces]
            parts.append(f" {UNK} " * len(ids) if unknown else self._backend.decode(ids, skip_special_tokens=False))
        return readable(normalise(" ".join(parts) if len(parts) > 1 else "".join(parts)))
