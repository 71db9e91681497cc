"""A file of weights comes back exactly, and any damage to it is noticed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from lebm_text.errors import InputError
from lebm_text.weights import load_weights, save_weights

from .damage import flips


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    weights = {"b": torch.ones(2), "a": torch.zeros(3)}
    save_weights(tmp_path / "one", weights, {"x": 1, "y": {"b": 1, "a": 2}, "z": 0.1})
    save_weights(tmp_path / "two", dict(reversed(weights.items())), {"z": 0.1, "y": {"a": 2, "b": 1}, "x": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as stream:
        assert len(stream.metadata()) == 1
    tensors, metadata = load_weights(tmp_path / "one")
    assert metadata == {"x": 1, "y": {"a": 2, "b": 1}, "z": 0.1}
    assert torch.equal(tensors["b"], weights["b"])
    assert len(list(tmp_path.iterdir())) == 2


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    save_weights(tmp_path / "w", {"in": shared, "out": shared, "part": shared[1:3]}, {})
    tensors, metadata = load_weights(tmp_path / "w")
    assert torch.equal(tensors["in"], shared)
    assert torch.equal(tensors["out"], shared)
    assert torch.equal(tensors["part"], shared[1:3])
    assert metadata == {}


@pytest.mark.parametrize("content", [None, b"", b"12345678901234567890", b"\x80\x04pickle"])
def test_unreadable_weights_are_input_errors(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError, match="cannot read the weights"):
        load_weights(tmp_path / "w")


def _weights(path: Path) -> bytes:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1)}
    save_weights(path, tensors, {"format": "lebm-text", "tokenizer": "0" * 8})
    assert load_weights(path)[1] == {"format": "lebm-text", "tokenizer": "0" * 8}
    return path.read_bytes()


def _refused(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_weights(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_changed_bit_of_weights_is_noticed(tmp_path: Path) -> None:
    for damaged in flips(_weights(tmp_path / "w")):
        (tmp_path / "w").write_bytes(damaged)
        _refused(tmp_path / "w")


def test_weights_that_are_cut_longer_or_in_disorder_are_noticed(tmp_path: Path) -> None:
    good = _weights(tmp_path / "w")
    swapped = good[:-8] + good[-4:] + good[-8:-4]
    for damaged in (*(good[:end] for end in range(0, len(good), 7)), good + b"\0", swapped, good[:-4] + bytes(4)):
        (tmp_path / "w").write_bytes(damaged)
        _refused(tmp_path / "w")


def test_weights_without_a_digest_still_load(tmp_path: Path) -> None:
    notes = {"format": "lebm-text", "tokenizer": "x"}
    for metadata in (None, {"format": "pt"}, {"lebm_text": json.dumps(notes)}):
        safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "w", metadata)
        assert torch.equal(load_weights(tmp_path / "w")[0]["a"], torch.ones(2))


@pytest.mark.parametrize("metadata", ["[]", "3", "null", "{", "", '{"a": 1}', '{"sha256": 3}', "[" * 100_000])
def test_odd_metadata_of_weights_is_one_line(tmp_path: Path, metadata: str) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "w", {"lebm_text": metadata})
    _refused(tmp_path / "w")


@pytest.mark.parametrize("size", [0, 1, 1 << 40, (1 << 64) - 1])
def test_a_head_of_any_size_is_one_line(tmp_path: Path, size: int) -> None:
    (tmp_path / "w").write_bytes(size.to_bytes(8, "little") + b"{" * 1000)
    _refused(tmp_path / "w")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    save_weights(tmp_path / "w", {"a": torch.ones(3), "b": torch.tensor([1.0, value])}, {})
    assert "b holds nan or inf" in _refused(tmp_path / "w")


def test_what_is_no_file_of_weights_is_one_line(tmp_path: Path) -> None:
    assert "no such file" in _refused(tmp_path / "none")
    assert "no such file" in _refused(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        assert "no such file" in _refused(tmp_path / "fifo")
