"""A class that is held out is held out everywhere: of training, of validation, of the vocabulary."""

from __future__ import annotations

import pytest

from lebm_text.errors import InputError
from lebm_text.reports.holdout import hold_out, resolve_class
from lebm_text.text.corpora import Labelled

_LINES = {
    "train": "0 red red|1 blue red|2 goal goal goal|0 red blue once|1 long long long long long",
    "valid": "0 red goal|1 blue goal|2 goal goal",
    "test": "0 red blue|2 goal red|2 blue once goal|2 goal goal goal goal goal",
}
CORPUS = {split: [Labelled(line[2:], line[0]) for line in lines.split("|")] for split, lines in _LINES.items()}


def test_the_held_out_class_is_in_the_anomalies_alone() -> None:
    marked = {
        split: [Labelled(f"{line} class{label}", label) for line, label in pairs] for split, pairs in CORPUS.items()
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
