"""Atomic, verified, resumable state on disk: safetensors and JSON, never pickle.

`root/last` and `root/previous` each hold `tensors.safetensors` and `state.json`; the latter contains the
size and SHA-256 of the former and a digest of itself. A save writes a temporary sibling, syncs it, and
then only renames, so that whenever a process is killed, one complete checkpoint is in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes, fsync_directory, sha256_file, sha256_json
from lebm_text.weights import JSON, separate

__all__ = [
    "Checkpoint",
    "flatten",
    "load_checkpoint",
    "save_checkpoint",
    "unflatten",
]

_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The saved content, its location, and a notice for the user if `last` could not be used."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path
    notice: str | None = None


def save_checkpoint(root: Path, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> None:
    """Write `root/last`; the former `last` becomes `root/previous`.

    Between any two system calls `last` or `previous` is complete: a damaged `last` (the run was resumed
    from `previous`) is deleted and does not replace the good one. Leftovers of a process
    that was killed while saving are removed first. Only one process may write at a time.

    Args:
        root: directory of the checkpoints.
        tensors: by name.
        state: JSON values by name.
    """
    root.mkdir(parents=True, exist_ok=True)
    for leftover in [*root.glob(".tmp-*"), *root.glob(".old-*")]:
        _discard(leftover)
    fresh, old = root / f".tmp-{os.getpid()}", root / f".old-{os.getpid()}"
    last, previous = root / "last", root / "previous"
    try:
        _write(fresh, tensors, state)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # above all if the disk is full
        raise

    if last.exists():
        try:
            _verify(last)
        except InputError:
            last.rename(old)
        else:
            if previous.exists():
                previous.rename(old)
            last.rename(previous)
    fresh.rename(last)
    fsync_directory(root)
    if old.exists():
        _discard(old)


def load_checkpoint(root: Path) -> Checkpoint:
    """Read `root/last`, or `root/previous` (with a `notice`) if `last` is missing or damaged.

    Raises InputError if neither is complete, with the reason for each. Tensors are on the CPU.
    """
    problems: list[str] = []
    for path in (root / "last", root / "previous"):
        try:
            state = _verify(path)
        except InputError as error:
            problems.append(str(error))
        else:
            notice = f"{problems[0]}; going on from {path} instead" if problems else None
            return Checkpoint(safetensors.torch.load_file(path / _TENSORS), state, path, notice)
    raise InputError(f"no usable checkpoint in {root}: {'; '.join(problems)}")


def flatten(tree: object, prefix: str) -> tuple[dict[str, Tensor], JSON]:
    """Split nested dicts, lists and tuples into named tensors and a JSON skeleton; `unflatten` inverts it exactly.

    For `optimizer.state_dict()` (integer keys, tuples), `{"noise": rng.get_state()}` and the like. The
    tensors are named `prefix.0`, `prefix.1`, … in the order of traversal. Raises TypeError for a leaf
    that is neither a tensor nor JSON.
    """
    tensors: dict[str, Tensor] = {}

    def walk(node: object) -> JSON:
        if isinstance(node, Tensor):
            name = f"{prefix}.{len(tensors)}"
            tensors[name] = node.detach()
            return {"__tensor__": name}
        if isinstance(node, Mapping):
            if all(isinstance(key, str) and not key.startswith("__") for key in node):
                return {key: walk(value) for key, value in node.items()}
            return {"__items__": [[walk(key), walk(value)] for key, value in node.items()]}
        if isinstance(node, tuple):
            return {"__tuple__": [walk(value) for value in node]}
        if isinstance(node, list):
            return [walk(value) for value in node]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"cannot store a {type(node).__name__} in a checkpoint: expected tensors and JSON values")

    return tensors, walk(tree)


def unflatten(skeleton: JSON, tensors: Mapping[str, Tensor]) -> Any:
    """Return the tree that `flatten` split, from its skeleton and a dict that contains its tensors."""
    if isinstance(skeleton, Mapping):
        if "__tensor__" in skeleton:
            return tensors[str(skeleton["__tensor__"])]
        if "__tuple__" in skeleton:
            return tuple(unflatten(skeleton["__tuple__"], tensors))
        if "__items__" in skeleton:
            return dict(unflatten(skeleton["__items__"], tensors))
        return {key: unflatten(value, tensors) for key, value in skeleton.items()}
    if isinstance(skeleton, Sequence) and not isinstance(skeleton, str):
        return [unflatten(value, tensors) for value in skeleton]
    return skeleton


def _discard(path: Path) -> None:
    """Delete a directory, or a link to one."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def _write(directory: Path, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> None:
    """Write the two files into a new directory and sync them to disk."""
    directory.mkdir()
    data = safetensors.torch.save(separate(tensors))
    # Through JSON once, so that the digest is that of what a reader will get (string keys, lists).
    plain = json.loads(json.dumps(state))
    document = {
        "format": _FORMAT,
        "state": plain,
        "state_sha256": sha256_json(plain),
        "tensors": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)},
    }
    atomic_write_bytes(directory / _TENSORS, data)
    atomic_write_bytes(directory / _STATE, _plain(document))


def _plain(document: object) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _verify(directory: Path) -> dict[str, Any]:
    """Return the state of a complete checkpoint. Raises InputError for damaged or missing files."""
    try:
        text = (directory / _STATE).read_bytes()
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise InputError(f"{directory} has checkpoint format {document['format']}, expected {_FORMAT}")
        state, expected = document["state"], document["tensors"]
        if sha256_json(state) != document["state_sha256"] or _plain(document) != text:
            raise InputError(f"{directory} is damaged: {_STATE} does not match its checksum")
        size = (directory / _TENSORS).stat().st_size
        if size != expected["size"]:
            raise InputError(f"{directory} is damaged: {_TENSORS} has {size} bytes, expected {expected['size']}")
        if sha256_file(directory / _TENSORS) != expected["sha256"]:
            raise InputError(f"{directory} is damaged: {_TENSORS} does not match its checksum")
    except FileNotFoundError as error:
        missing = directory if not directory.exists() else error.filename
        raise InputError(f"{missing} does not exist") from None
    except OSError as error:
        raise InputError(f"{directory} cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{directory} is damaged: {_STATE} is not complete") from None
    return dict(state)
