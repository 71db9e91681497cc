"""Atomic, verified, resumable state on disk: safetensors and JSON, never pickle.

`root/last` and `root/previous` each hold `tensors.safetensors` and `state.json`; the latter carries the
size and SHA-256 of the former and a digest of itself. A save writes a temporary sibling, syncs it, and
then only renames, so that whatever moment a process dies at, one complete checkpoint has its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes, atomic_writer, fsync_directory, sha256_file, sha256_json

if TYPE_CHECKING:
    from lebm_text.text.tokenizers import Tokenizer

__all__ = [
    "HALVINGS",
    "JSON",
    "Checkpoint",
    "check_shapes",
    "flatten",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "save_weights",
    "unflatten",
    "weights_metadata",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

HALVINGS = "prior_step_halvings"
_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_FORMAT = 1
_METADATA_KEY = "lebm_text"
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Checkpoint:
    """What was saved, where it was found, and a sentence for the user if `last` could not be used."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path
    notice: str | None = None


def save_checkpoint(root: Path, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> None:
    """Write `root/last`; the former `last` becomes `root/previous`.

    Between any two system calls `last` or `previous` is complete: a damaged `last` (the run was resumed
    from `previous`) is thrown away instead of taking the place of the good one. Leftovers of a process
    that was killed while saving are removed first. One process writes at a time.
    """
    root.mkdir(parents=True, exist_ok=True)
    for leftover in [*root.glob(".tmp-*"), *root.glob(".old-*")]:
        _discard(leftover)
    fresh, old = root / f".tmp-{os.getpid()}", root / f".old-{os.getpid()}"
    last, previous = root / "last", root / "previous"
    try:
        _write(fresh, tensors, state)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # of a full disk most of all
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

    Raises InputError if neither is complete, saying what is wrong with each. Tensors are on the CPU.
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
    """Split nested dicts, lists and tuples into named tensors and a JSON skeleton; `unflatten` is exact.

    For `optimizer.state_dict()` (integer keys, tuples), `{"noise": rng.get_state()}` and the like. The
    tensors are called `prefix.0`, `prefix.1`, … in the order of the walk. Raises TypeError for a leaf
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
    """The tree that `flatten` took apart, from its skeleton and a dict that holds its tensors."""
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


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, JSON]) -> None:
    """Write a safetensors file atomically; equal tensors and metadata give equal bytes.

    The format stores its string metadata in no fixed order, so all of it goes under one key as one sorted JSON string.
    With it goes `sha256`, that of the file as it is with zeros in the place of this hash.
    """
    notes = json.dumps({**metadata, "sha256": _NO_HASH}, sort_keys=True)
    data = safetensors.torch.save(_separate(tensors), {_METADATA_KEY: notes})
    found = hashlib.sha256(data).hexdigest()
    start = data.index(_NO_HASH.encode())
    with atomic_writer(path) as stream:
        for piece in (data[:start], found.encode(), memoryview(data)[start + len(found) :]):
            stream.write(piece)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a file from `save_weights`, or of any safetensors file without metadata.

    Raises:
        InputError: it cannot be read, is not what was written, or holds nan or inf.
    """
    problem = f"cannot read the weights {path}"
    if not path.is_file():
        raise InputError(f"{problem}: there is no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            notes = _checked_notes(path, stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        odd = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    except OSError as error:
        raise InputError(f"{problem}: {error.strerror or error}") from None
    except InputError:
        raise
    # torch has not all types that a file may name, and says so in many ways.
    except (safetensors.SafetensorError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(f"{problem}: not a complete safetensors file ({error})") from None
    if odd:
        raise InputError(f"{problem}: {odd[0]} holds nan or inf; weights are finite numbers")
    return tensors, notes


def check_shapes(path: Path, tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Raise InputError unless the tensors of `path` are those of `model`, by name and shape."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if odd := sorted(set(expected.items()) ^ set(found.items())):
        name = odd[0][0]
        raise InputError(
            f"{path} does not fit config.json and the tokenizer: "
            f"{name} has shape {found.get(name)}, expected {expected.get(name)}"
        )


def _checked_notes(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What `save_weights` wrote beside the tensors. Raises InputError unless all is as it was written."""
    damaged = InputError(f"{path} is damaged: it does not match its checksum")
    notes = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(notes, dict):
        raise damaged
    if (expected := notes.pop("sha256", None)) is None:
        # Version 0.1.0 wrote none, and these two; other programs write the format alone.
        if set(metadata) - {_METADATA_KEY, "format"} or set(notes) - {"format", "tokenizer"}:
            raise damaged
        return notes
    with path.open("rb") as stream:
        head = stream.read(8)
        head += stream.read(int.from_bytes(head, "little"))
        found = hashlib.sha256(head.replace(str(expected).encode(), _NO_HASH.encode(), 1))
        while piece := stream.read(1 << 20):
            found.update(piece)
    if found.hexdigest() != expected:
        raise damaged
    return notes


def _discard(path: Path) -> None:
    """Delete a directory, or a link to one."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share no memory (the format refuses tied weights otherwise)."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone(memory_format=torch.contiguous_format) if storage in seen else tensor
        seen.add(storage)
    return separate


def _write(directory: Path, tensors: Mapping[str, Tensor], state: Mapping[str, JSON]) -> None:
    """Fill a new directory with the two files, all of it on the disk when this returns."""
    directory.mkdir()
    data = safetensors.torch.save(_separate(tensors))
    # Through JSON once, so that the digest is taken of what a reader will get (string keys, lists).
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
    """The state of a complete checkpoint; InputError says what is damaged or missing."""
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


def weights_metadata(tokenizer: Tokenizer, halvings: int = 0) -> dict[str, JSON]:
    """What a weights file says of itself: enough to refuse the ids of another tokenizer.

    `halvings`: how often training has halved the step of the prior's chain beyond the configuration.
    """
    own: dict[str, JSON] = {"format": "lebm-text", "tokenizer": tokenizer.fingerprint()}
    return own | ({HALVINGS: halvings} if halvings else {})
