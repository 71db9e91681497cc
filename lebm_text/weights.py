"""The weights of a model: a safetensors file that reveals damage, and the model built from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lebm_text.build import LatentModel, build_model
from lebm_text.checks import from_plain
from lebm_text.config import Config
from lebm_text.environment import resolve_device
from lebm_text.errors import InputError
from lebm_text.models.lstm import resolve_precision
from lebm_text.run import read_config
from lebm_text.run_files import CONFIG, WEIGHTS
from lebm_text.store import atomic_write_json, atomic_writer
from lebm_text.text.tokenizers import TOKENIZERS, Tokenizer, load_tokenizer
from lebm_text.torch_state import own_state

__all__ = ["load_model", "load_weights", "save_model", "save_weights", "separate", "weights_metadata"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

_HALVINGS = "prior_step_halvings"
_METADATA_KEY = "lebm_text"
_NO_HASH = "0" * 64


@own_state()
def load_model(
    directory: Path, device: str | torch.device, precision: str, *, trust_plugins: bool = False
) -> tuple[Config, Tokenizer, LatentModel]:
    """Load the model in `directory`; arguments and errors are those of `LatentEBM.from_pretrained`."""
    config = read_config(directory, plugged=True, trust_plugins=trust_plugins)
    tokenizer = load_tokenizer(directory)
    path = directory / WEIGHTS
    if not path.exists():
        raise InputError(
            f"{directory} has no {WEIGHTS}: training has not ended yet "
            f"(a stopped run goes on with: lebm-text train --resume --out {quote(str(directory))})"
        )
    weights, metadata = load_weights(path)
    if metadata.get("tokenizer", tokenizer.fingerprint()) != tokenizer.fingerprint():
        raise InputError(f"the weights in {directory} were trained with another tokenizer than lies there")
    halvings = from_plain(int, metadata.get(_HALVINGS, 0), f"{_HALVINGS} of {path}")
    config = dataclasses.replace(config, prior=config.prior.finer(halvings))
    place = resolve_device(device)
    resolved = config.merge({"training": {"precision": resolve_precision(precision, place)}})
    # Sizes are first checked without memory, since config.json may ask for too much; not possible for plug-in classes.
    elsewhere = bool(config.plugged) or config.is_pretrained
    with nullcontext() if elsewhere else torch.device("meta"):
        model = build_model(
            resolved,
            vocab_size=len(tokenizer),
            bos_id=tokenizer.bos_id,
            rng=torch.Generator().manual_seed(0),
        )
    _check_shapes(path, weights, model)
    if not elsewhere:
        model.to_empty(device=place)
    model.load_state_dict(weights)
    return config, tokenizer, model.to(place).requires_grad_(False)


def save_model(directory: Path, config: Config, tokenizer: Tokenizer, model: LatentModel) -> None:
    """Write config.json, the tokenizer and model.safetensors, each atomically; the weights come last.

    A tokenizer of another kind, of a model that was saved there before, is deleted.
    """
    directory.mkdir(parents=True, exist_ok=True)
    atomic_write_json(directory / CONFIG, config.to_dict())
    for name in {*TOKENIZERS} - {tokenizer.file}:
        (directory / name).unlink(missing_ok=True)
    tokenizer.save(directory)
    save_weights(directory / WEIGHTS, model.state_dict(), weights_metadata(tokenizer))


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, JSON]) -> None:
    """Write a safetensors file atomically; equal tensors and metadata give equal bytes.

    The format stores its string metadata in no fixed order, so all of it is stored under one key as a sorted JSON
    string. It includes `sha256`, the hash of the file with zeros in its place.
    """
    notes = json.dumps({**metadata, "sha256": _NO_HASH}, sort_keys=True)
    data = safetensors.torch.save(separate(tensors), {_METADATA_KEY: notes})
    found = hashlib.sha256(data).hexdigest()
    start = data.index(_NO_HASH.encode())
    with atomic_writer(path) as stream:
        for piece in (data[:start], found.encode(), memoryview(data)[start + len(found) :]):
            stream.write(piece)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors (on the CPU) and metadata of a file from `save_weights`, or of one without metadata.

    Raises:
        InputError: it is unreadable, not as it was written, or contains nan or inf.
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
    # torch lacks some types that a file may name, and raises various errors for them.
    except (safetensors.SafetensorError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(f"{problem}: not a complete safetensors file ({error})") from None
    if odd:
        raise InputError(f"{problem}: {odd[0]} holds nan or inf; weights are finite numbers")
    return tensors, notes


def _check_shapes(path: Path, tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Raise InputError unless the tensors of `path` are those of `model`, by name and shape."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if odd := sorted(set(expected.items()) ^ set(found.items())):
        name = odd[0][0]
        shape, wanted = found.get(name), expected.get(name)
        problem = "is missing" if shape is None else f"has shape {shape}, expected {wanted or 'none of that name'}"
        raise InputError(f"{path} does not fit config.json and the tokenizer: {name} {problem}")


def weights_metadata(tokenizer: Tokenizer, halvings: int = 0) -> dict[str, JSON]:
    """Return the metadata of a weights file: enough to refuse the ids of another tokenizer.

    `halvings`: how often training has halved the step of the prior's chain beyond the configuration.
    """
    own: dict[str, JSON] = {"format": "lebm-text", "tokenizer": tokenizer.fingerprint()}
    return own | ({_HALVINGS: halvings} if halvings else {})


def _checked_notes(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata that `save_weights` wrote. Raises InputError unless everything is as it was written."""
    damaged = InputError(f"{path} is damaged: it does not match its checksum")
    notes = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(notes, dict):
        raise damaged
    if (expected := notes.pop("sha256", None)) is None:
        # Version 0.1.0 wrote no hash, and only these two; other programs write only the format.
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


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU tensors that share no memory (the format refuses tied weights otherwise)."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone(memory_format=torch.contiguous_format) if storage in seen else tensor
        seen.add(storage)
    return separate
