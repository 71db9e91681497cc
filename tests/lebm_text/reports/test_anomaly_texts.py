"""Spoilt sentences: nothing at strength 0, the stated share otherwise, and independent of their neighbours."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.reports.anomaly_texts import KINDS, Corruption, Unigrams, corrupt

DISTINCT = st.integers(0, 12).map(lambda n: " ".join(f"w{i}" for i in range(n)))
STRENGTHS = st.floats(0, 1)
UNIGRAMS = Unigrams(["x x x", "y"])


def changed(before: str, after: str) -> int:
    return sum(one != other for one, other in zip(before.split(" "), after.split(" "), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@given(sentences=st.lists(DISTINCT, max_size=4))
def test_strength_zero_is_the_identity(kind: str, sentences: list[str]) -> None:
    assert corrupt(sentences, Corruption(kind, 0.0), UNIGRAMS) == sentences


@given(sentence=DISTINCT, strength=STRENGTHS, seed=st.integers(0, 100))
def test_swapping_moves_the_stated_share_and_keeps_the_words(sentence: str, strength: float, seed: int) -> None:
    (found,) = corrupt([sentence], Corruption("swap", strength), seed=seed)
    n = len(sentence.split())
    expected = 0 if strength == 0 or n < 2 else min(max(round(strength * n), 2), n)
    assert changed(sentence, found) == expected
    assert Counter(found.split()) == Counter(sentence.split())


@given(sentence=DISTINCT, strength=STRENGTHS, seed=st.integers(0, 100))
def test_replacing_replaces_the_stated_share_by_words_of_the_text(sentence: str, strength: float, seed: int) -> None:
    (found,) = corrupt([sentence], Corruption("replace", strength), UNIGRAMS, seed=seed)
    n = len(sentence.split())
    expected = 0 if strength == 0 or n == 0 else max(round(strength * n), 1)
    assert changed(sentence, found) == expected  # no word of the sentence is in the text that is drawn from
    assert set(found.split()) - set(sentence.split()) <= {"x", "y"}


def test_draws_follow_the_counts() -> None:
    (found,) = corrupt(["w " * 1999 + "w"], Corruption("replace", 1.0), UNIGRAMS)
    # Three in four, with a standard deviation of 0.01.
    assert found.split().count("x") / 2000 == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_depends_on_its_place_and_the_seed_alone(kind: str) -> None:
    sentence = "a b c d e f g h i j k l"
    corruption = Corruption(kind, 0.5)
    found = corrupt([sentence, "other words", sentence], corruption, UNIGRAMS)
    assert corrupt([sentence], corruption, UNIGRAMS) == found[:1]
    assert found[0] != found[2]
    assert corrupt([sentence], corruption, UNIGRAMS, seed=2) != found[:1]


def test_refuses_unknown_kinds_strengths_and_empty_texts() -> None:
    with pytest.raises(InputError, match="swap, replace"):
        Corruption("drop", 0.5)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Corruption("swap", 1.5)
    with pytest.raises(InputError, match="no words"):
        Unigrams(["", ""])
    with pytest.raises(ValueError, match="unigrams"):
        corrupt(["a"], Corruption("replace", 0.5))
