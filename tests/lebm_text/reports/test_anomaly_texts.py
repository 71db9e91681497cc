"""Spoilt sentences: nothing at strength 0, the stated share otherwise, and independent of their neighbours.

A class that is held out is held out everywhere: of training, of validation, of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.reports.anomaly_texts import KINDS, AnomalySettings, choose_texts, corrupt, hold_out, resolve_class
from lebm_text.text.corpora import find_corpus
from lebm_text.text.labels import Labelled

DISTINCT = st.integers(0, 12).map(lambda n: " ".join(f"w{i}" for i in range(n)))
STRENGTHS = st.floats(0, 1)
TRAIN = ["x x x", "", "y"]
_LINES = {
    "train": "0 red red|1 blue red|2 goal goal goal|0 red blue once|1 long long long long long",
    "valid": "0 red goal|1 blue goal|2 goal goal",
    "test": "0 red blue|2 goal red|2 blue once goal|2 goal goal goal goal goal",
}
CORPUS = {split: [Labelled(line[2:], line[0]) for line in lines.split("|")] for split, lines in _LINES.items()}


def changed(before: str, after: str) -> int:
    return sum(one != other for one, other in zip(before.split(" "), after.split(" "), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@given(sentences=st.lists(DISTINCT, max_size=4))
def test_strength_zero_is_the_identity(kind: str, sentences: list[str]) -> None:
    assert corrupt(sentences, kind, 0.0, TRAIN) == sentences


@given(sentence=DISTINCT, strength=STRENGTHS, seed=st.integers(0, 100))
def test_swapping_moves_the_stated_share_and_keeps_the_words(sentence: str, strength: float, seed: int) -> None:
    (found,) = corrupt([sentence], "swap", strength, seed=seed)
    n = len(sentence.split())
    expected = 0 if strength == 0 or n < 2 else min(max(round(strength * n), 2), n)
    assert changed(sentence, found) == expected
    assert Counter(found.split()) == Counter(sentence.split())


@given(sentence=DISTINCT, strength=STRENGTHS, seed=st.integers(0, 100))
def test_replacing_replaces_the_stated_share_by_words_of_the_text(sentence: str, strength: float, seed: int) -> None:
    (found,) = corrupt([sentence], "replace", strength, TRAIN, seed=seed)
    n = len(sentence.split())
    expected = 0 if strength == 0 or n == 0 else max(round(strength * n), 1)
    assert changed(sentence, found) == expected  # no word of the sentence is in the text that is drawn from
    assert set(found.split()) - set(sentence.split()) <= {"x", "y"}


def test_draws_follow_the_counts() -> None:
    (found,) = corrupt(["w " * 1999 + "w"], "replace", 1.0, TRAIN)
    # Three in four, with a standard deviation of 0.01.
    assert found.split().count("x") / 2000 == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_depends_on_its_place_and_the_seed_alone(kind: str) -> None:
    sentence = "a b c d e f g h i j k l"
    found = corrupt([sentence, "other words", sentence], kind, 0.5, TRAIN)
    assert corrupt([sentence], kind, 0.5, TRAIN) == found[:1]
    assert found[0] != found[2]
    assert corrupt([sentence], kind, 0.5, TRAIN, seed=2) != found[:1]


def test_spoilt_sentences_name_the_normal_ones_that_they_were_made_of(tmp_path: Path) -> None:
    """One word cannot be swapped: what it leaves as it was is left out, and so is what no model takes."""
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("dog\na b\nred cat\ne f g\n")
    settings = AnomalySettings(swaps=(1.0,), resamples=20)
    normal, (spoilt,) = choose_texts(find_corpus(str(tmp_path)), settings, lambda sentence: sentence != "b a")
    assert normal == ["dog", "a b", "red cat", "e f g"]
    assert (spoilt.name, spoilt.of) == ("swap 1", [2, 3])
    assert spoilt.sentences[0] == "cat red"
    assert Counter(spoilt.sentences[1].split()) == Counter("efg")


def test_words_cannot_be_replaced_by_those_of_a_text_without_words() -> None:
    with pytest.raises(InputError, match="no words"):
        corrupt(["a"], "replace", 1.0, ["", ""])


def test_the_held_out_class_is_in_the_anomalies_alone() -> None:
    marked = {
        split: [Labelled(f"{line} class{label}", label) for line, label in pairs] for split, pairs in CORPUS.items()
    }
    found, _ = hold_out(marked, "2", min_count=1, max_length=40)
    anomalies = found.pop("anomalies")
    for lines in found.values():
        assert lines
        assert not any("class2" in line for line in lines)
    assert anomalies == ["<unk> red <unk>", "blue once <unk> <unk>", "<unk> <unk> <unk> <unk> <unk> <unk>"]


def test_words_are_known_by_the_normal_training_text_alone() -> None:
    found, counts = hold_out(CORPUS, "2", min_count=2, max_length=4)
    assert found == {
        "train": ["red red", "blue red", "red blue <unk>"],
        "valid": ["red <unk>", "blue <unk>"],
        "test": ["red blue"],
        "anomalies": ["<unk> red", "blue <unk> <unk>"],
    }
    assert counts == {
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
        hold_out(CORPUS, "1", min_count=3, max_length=40)
    with pytest.raises(InputError, match="train"):
        hold_out(CORPUS, "2", min_count=3, max_length=1)


def test_a_text_column_is_of_the_files_that_are_named(tmp_path: Path) -> None:
    """Not of anomalies.txt, which has none."""
    for name in ("train", "valid", "test", "anomalies"):
        (tmp_path / f"{name}.txt").write_text("a cat\nthe dog\n")
    (tmp_path / "other.csv").write_text("id,body\nx,red\ny,blue\n")
    corpus, named = find_corpus(str(tmp_path)), (tmp_path / "other.csv",)
    _, sets = choose_texts(corpus, AnomalySettings(anomalous=named, text_column="body"), lambda _: True)
    assert [each.sentences for each in sets] == [["a cat", "the dog"], ["red", "blue"]]
    with pytest.raises(InputError, match="no file is named"):
        choose_texts(corpus, AnomalySettings(text_column="body"), lambda _: True)
