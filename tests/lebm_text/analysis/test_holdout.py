"""A class that is held out is held out everywhere: of training, of validation, of the vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.analysis.holdout import hold_out, read_labels, resolve_class
from lebm_text.errors import InputError

CORPUS = {
    "train": (
        ["red red", "blue red", "goal goal goal", "red blue once", "", "long long long long long"],
        ["0", "1", "2", "0", "1", "1"],
    ),
    "valid": (["red goal", "blue goal", "goal goal"], ["0", "1", "2"]),
    "test": (["red blue", "goal red", "blue once goal", "goal goal goal goal goal"], ["0", "2", "2", "2"]),
}


def test_the_held_out_class_is_in_the_anomalies_alone() -> None:
    marked = {
        split: ([f"{line} class{label}".strip() for line, label in zip(*pair, strict=True)], pair[1])
        for split, pair in CORPUS.items()
    }
    found = hold_out(marked, "2", min_count=1)
    for lines in found.splits.values():
        assert lines
        assert not any("class2" in line for line in lines)
    assert found.anomalies == ["<unk> red <unk>", "blue once <unk> <unk>", "<unk> <unk> <unk> <unk> <unk> <unk>"]


def test_words_are_known_by_the_normal_training_text_alone() -> None:
    found = hold_out(CORPUS, "2", min_count=2, max_length=4)
    assert found.splits == {
        "train": ["red red", "blue red", "red blue <unk>"],
        "valid": ["red <unk>", "blue <unk>"],
        "test": ["red blue"],
    }
    assert found.anomalies == ["<unk> red", "blue <unk> <unk>"]
    assert found.counts == {
        "n_train": 3,
        "n_valid": 2,
        "n_test": 1,
        "n_anomalies": 2,
        "n_words": 2,
        "n_rare_words": 1,
        "n_too_long": 2,
    }


def test_classes_by_name_and_by_label() -> None:
    names = ("world", "sports")
    assert resolve_class("sports", ["0", "1", "1"], names) == resolve_class("1", ["0", "1"]) == "1"
    with pytest.raises(InputError, match=r"0 \(world\), 1 \(sports\), x"):
        resolve_class("sport", ["1", "0", "x"], names)


def test_refuses_to_leave_nothing() -> None:
    with pytest.raises(InputError, match="anomalies"):
        hold_out(CORPUS, "1")
    with pytest.raises(InputError, match="train"):
        hold_out(CORPUS, "2", max_length=1)


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("0\n 1\n")
    assert read_labels(tmp_path / "labels") == ["0", "1"]
    with pytest.raises(InputError, match="cannot read the labels"):
        read_labels(tmp_path / "none")
