"""Whatever is no list of strings is refused by every judge in one line; whatever can be read once will do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lm_eval
from lebm_text.errors import InputError
from lm_eval import NgramModel
from lm_eval.kneser_ney import KneserNeySettings

LINES = ["a b c", "b c", "a c"] * 5
JUDGES: dict[str, Callable[[Any], object]] = {
    "fppl samples": lambda text: lm_eval.fppl(text, LINES),
    "fppl real": lambda text: lm_eval.fppl(LINES, text),
    "rppl samples": lambda text: lm_eval.rppl(text, LINES),
    "rppl real": lambda text: lm_eval.rppl(LINES, text),
    "validation text": lambda text: lm_eval.fppl(LINES, LINES, real_valid=text),
    "closed vocabulary": lm_eval.closed_vocabulary,
    "training": NgramModel.train,
    "scoring": lambda text: NgramModel.train(LINES, 3).score(text),
}


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one string", "expected a list of sentences, got one string"),
        (b"bytes", "expected a list of sentences, got one string"),
        (None, "expected a list of sentences, got NoneType"),
        (5, "expected a list of sentences, got int"),
        ({"a b", "c"}, "expected a list of sentences, got set"),
        (Path("text.txt"), "expected a list of sentences, got PosixPath"),
        (["a", 2], "expected a list of sentences, which are strings; number 2 is 2"),
        ([["a", "b"]], r"which are strings; number 1 is \['a', 'b'\]"),
        ([b"a"], "which are strings; number 1 is b'a'"),
        (["a", "b \ud800"], "number 2 of the sentences contains half of a surrogate pair"),
    ],
)
def test_what_is_no_list_of_strings_is_refused(name: str, text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        JUDGES[name](text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [iter, tuple, np.array])
def test_what_can_be_read_once_will_do(read: Callable[[list[str]], Any]) -> None:
    samples = LINES[:7]
    for tokenize in (False, True):
        expected = lm_eval.fppl(samples, LINES, tokenize=tokenize)
        assert lm_eval.fppl(read(samples), read(LINES), tokenize=tokenize) == expected
        expected = lm_eval.rppl(samples, LINES, vocabulary=["a", "b"], tokenize=tokenize)
        assert lm_eval.rppl(read(samples), read(LINES), vocabulary=read(["a", "b"]), tokenize=tokenize) == expected


@pytest.mark.parametrize("vocabulary", ["abc", 5, [1]])
def test_a_vocabulary_is_a_list_of_words(vocabulary: Any) -> None:
    with pytest.raises(InputError, match="vocabulary: expected a list of words"):
        lm_eval.rppl(LINES, LINES, vocabulary=vocabulary)


@pytest.mark.parametrize("word", ["a b", "", " a", "a\t"])
def test_a_word_of_a_vocabulary_is_one_word(word: str) -> None:
    """Sentences in the place of words would make the vocabulary larger, and the perplexity with it."""
    with pytest.raises(InputError, match=r"vocabulary: number 2 is .*, not one word without blanks"):
        lm_eval.rppl(LINES, LINES, vocabulary=["a", word])


@pytest.mark.parametrize("judge", [None, 5, ["kn5"], "", "KN5", "both", "kn", "kn9", "kn23"])
def test_a_judge_is_one_of_the_names(judge: Any) -> None:
    with pytest.raises(InputError, match=r"judge must be kn2 to kn6, lstm or package\.module:Class, got"):
        lm_eval.fppl(LINES, LINES, judge)


@pytest.mark.parametrize("order", ["5", None, 5.0, True, 7])
def test_an_order_is_a_number(order: Any) -> None:
    with pytest.raises(InputError, match="order must be 2 to 6, got"):
        NgramModel.train(LINES, order)


def test_an_order_may_be_numpys() -> None:
    assert NgramModel.train(LINES, np.int64(3)).order == 3
    assert type(KneserNeySettings(np.int64(3)).order) is int


@pytest.mark.parametrize("place", ["", "absent/model.arpa", "model.arpa/x"])
def test_a_model_goes_to_a_file_that_can_be_written(place: str, tmp_path: Path) -> None:
    model = NgramModel.train(LINES, 2)
    model.save(tmp_path / "model.arpa")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        model.save(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["model.arpa"]
