"""Trained judges on disk, and the state of interrupted trainings, as safetensors files written atomically.

An entry contains a digest of its own content, so a damaged one is noticed and recomputed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lebm_text.store import atomic_write_bytes, lock
from lebm_text.text.batching import EncodedCorpus

from .judges import LSTMRecipe
from .lstm import OutputVocabulary

__all__ = ["Entry", "JudgeCache", "training_key"]

_FORMAT = 1  # changes with the files' format and with code that changes the result of a training
_METADATA_KEY = "lm_eval"
logger = logging.getLogger(__name__)


def training_key(
    train: EncodedCorpus,
    valid: EncodedCorpus,
    vocabulary: OutputVocabulary,
    recipe: LSTMRecipe,
    seed: int,
    precision: str,
) -> str:
    """Return the hexadecimal SHA-256 of everything that determines a trained judge, except machine and threads.

    Args:
        train, valid: the texts that the judge learns from and stops on.
        vocabulary: types that it may predict.
        recipe: sizes, regularisation and schedule.
        seed: of the initial weights and of dropout.
        precision: of matrix products, fp32 or bf16.
    """
    settings = {"format": _FORMAT, "recipe": asdict(recipe), "seed": seed, "precision": precision}
    digest = hashlib.sha256(json.dumps([settings, vocabulary.types]).encode())
    for text in (train, valid):
        for part in (text.tokens.astype("<i4"), text.offsets.astype("<i8")):
            digest.update(hashlib.sha256(part.tobytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class Entry:
    """Named tensors and JSON notes."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]


class JudgeCache:
    """The files of one training: the `finished` judge, the state after the last epoch, and a lock.

    A failure here never ends a training: it is logged, and the training continues without the file.
    With `directory` None nothing is read or written.
    """

    def __init__(self, directory: Path | None, key: str) -> None:
        self.finished = directory and directory / f"lstm-{key}.safetensors"
        self.unfinished = directory and directory / f"lstm-{key}.unfinished.safetensors"
        self._lock = directory and directory / f"lstm-{key}.lock"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude other processes from the same training: a second one waits until the first one ends in any way.

        Where files cannot be locked, there is no waiting.
        """
        if self._lock is None:
            yield
            return
        with contextlib.suppress(OSError):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
        with lock(self._lock, on_wait=lambda: logger.info("another process is training this judge; waiting for it")):
            yield

    def finish(self, entry: Entry) -> None:
        """Store the trained judge and delete the state of its training."""
        self.write(self.finished, entry)
        if self.unfinished is not None:
            with contextlib.suppress(OSError):
                self.unfinished.unlink()

    def read(self, path: Path | None) -> Entry | None:
        """Return the content of `finished` or `unfinished`, or None if it is missing or damaged."""
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
        logger.info(f"{path} is damaged and is made again")
        return None

    def write(self, path: Path | None, entry: Entry) -> None:
        """Store the trained judge as `finished`, or the state of its training as `unfinished`."""
        if path is None:
            return
        metadata = {_METADATA_KEY: json.dumps({"notes": entry.notes, "sha256": _digest(entry)})}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(path, safetensors.torch.save(entry.tensors, metadata))
        except OSError as error:
            logger.info(f"cannot write {path}: {error.strerror or error}; going on without")


def _digest(entry: Entry) -> str:
    digest = hashlib.sha256(json.dumps(entry.notes, sort_keys=True).encode())
    for name, tensor in sorted(entry.tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
