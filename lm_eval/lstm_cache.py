"""Trained judges on disk, and the state of trainings that were interrupted: safetensors files, complete or absent.

An entry carries a digest of its own content, so one that was damaged is noticed and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lebm_text.store import atomic_write_bytes, lock
from lebm_text.text.batching import EncodedCorpus

from .lstm import OutputVocabulary
from .lstm_recipe import LSTMRecipe

__all__ = ["Entry", "JudgeCache", "training_key"]

_FORMAT = 1  # of the files, and of whatever in the code changes what a training gives
_METADATA_KEY = "lm_eval"


def training_key(
    train: EncodedCorpus,
    valid: EncodedCorpus,
    vocabulary: OutputVocabulary,
    recipe: LSTMRecipe,
    seed: int,
    precision: str,
) -> str:
    """Hexadecimal SHA-256 of all that decides what a training gives, but for the machine and its threads."""
    settings = {"format": _FORMAT, "recipe": asdict(recipe), "seed": seed, "precision": precision}
    digest = hashlib.sha256(json.dumps([settings, vocabulary.types]).encode())
    for text in (train, valid):
        for part in (text.tokens.astype("<i4"), text.offsets.astype("<i8")):
            digest.update(hashlib.sha256(part.tobytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class Entry:
    """Named tensors and JSON."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]


class JudgeCache:
    """The files of one training in `directory`: the finished judge, the state after the last epoch, and a lock.

    Nothing that goes wrong here ends a training: `notify` is told in words, and it goes on without the file.
    With `directory` None nothing is read or written.
    """

    def __init__(self, directory: Path | None, key: str, notify: Callable[[str], None]) -> None:
        self._finished = directory and directory / f"lstm-{key}.safetensors"
        self._unfinished = directory and directory / f"lstm-{key}.unfinished.safetensors"
        self._lock = directory and directory / f"lstm-{key}.lock"
        self._notify = notify

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process is at the same training: a second one waits here, however the first one ends.

        Where files cannot be locked nothing is waited for.
        """
        if self._lock is None:
            yield
            return
        with contextlib.suppress(OSError):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
        with lock(self._lock, on_wait=lambda: self._notify("another process is training this judge; waiting for it")):
            yield

    def finished(self) -> Entry | None:
        """The trained judge, or None if it is not there or damaged."""
        return self._read(self._finished)

    def unfinished(self) -> Entry | None:
        """The state to go on from, or None if it is not there or damaged."""
        return self._read(self._unfinished)

    def keep_unfinished(self, entry: Entry) -> None:
        """Replace the state to go on from."""
        self._write(self._unfinished, entry)

    def keep_finished(self, entry: Entry) -> None:
        """Store the trained judge; the state to go on from is deleted."""
        self._write(self._finished, entry)
        if self._unfinished is not None:
            with contextlib.suppress(OSError):
                self._unfinished.unlink()

    def _read(self, path: Path | None) -> Entry | None:
        if path is None or not path.exists():
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as stream:
                stored = json.loads(stream.metadata()[_METADATA_KEY])
                entry = Entry({name: stream.get_tensor(name) for name in stream.keys()}, stored["notes"])  # noqa: SIM118
            if stored["sha256"] == _digest(entry):
                return entry
        except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
            pass
        self._notify(f"{path} is damaged and is made again")
        return None

    def _write(self, path: Path | None, entry: Entry) -> None:
        if path is None:
            return
        metadata = {_METADATA_KEY: json.dumps({"notes": entry.notes, "sha256": _digest(entry)})}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(path, safetensors.torch.save(entry.tensors, metadata))
        except OSError as error:
            self._notify(f"cannot write {path}: {error.strerror or error}; going on without")


def _digest(entry: Entry) -> str:
    digest = hashlib.sha256(json.dumps(entry.notes, sort_keys=True).encode())
    for name, tensor in sorted(entry.tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
