"""Sentences drawn from an n-gram model follow its probabilities."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval.kenlm import write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel

from .reference import log_prob, parse_arpa

N = 4000


MIXED, SHORT = ["a b", "a c a", "b", "c a b b", "<unk> a", "b a c"], [("<s>",), ("<s>", "a"), ("a", "b"), ("b", "b")]
UNEVEN = [f"{word} a" for word in "abcdef"]  # `a` follows seven words and every other word one


@pytest.mark.parametrize(
    ("text", "settings", "contexts"),
    [
        (MIXED, KneserNeySettings(3), SHORT),
        (MIXED, KneserNeySettings(3, prune=(0, 1)), SHORT),
        (UNEVEN, KneserNeySettings(2), [("<s>",), ("a",), ("b",)]),
    ],
    ids=["mixed", "pruned", "uneven"],
)
def test_words_come_with_their_probability(
    text: list[str], settings: KneserNeySettings, contexts: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """First words, and words after one context, within 4.5 standard errors.

    The mass of `<unk>`, which is not drawn, goes to the words of the unigrams: p(w|h) + p(<unk>|h) p(w) / Σ_v p(v).
    """
    model = NgramModel.train(text, settings)
    write_arpa(model, tmp_path / "model.arpa")
    arpa = parse_arpa((tmp_path / "model.arpa").read_text())
    drawn = [
        ["<s>", *line.replace("<unk>", "<oov>").split(), "</s>"] for line in model.sample(N, np.random.default_rng(1))
    ]
    words = [gram[0] for gram in arpa if len(gram) == 1 and gram[0] not in ("<s>", "<unk>")]
    alone = {word: 10 ** arpa[(word,)][0] for word in words}
    for context in contexts:
        k = len(context)
        following = Counter(
            line[i + k] for line in drawn for i in range(len(line) - k) if tuple(line[i : i + k]) == context
        )
        n, unk = following.total(), 10 ** log_prob(arpa, context, "<unk>")
        assert n > 20
        for word in words:
            p = 10 ** log_prob(arpa, context, word) + unk * alone[word] / sum(alone.values())
            assert abs(following[word] / n - p) <= 4.5 * math.sqrt(p * (1 - p) / n)


def test_length_is_bounded_and_seed_decides() -> None:
    model = NgramModel.train(["a a a a a a a a"] * 9, KneserNeySettings(order=2))
    first = model.sample(50, np.random.default_rng(2), max_length=5)
    assert max(len(line.split()) for line in first) == 5
    assert first == model.sample(50, np.random.default_rng(2), max_length=5)
    assert first != model.sample(50, np.random.default_rng(3), max_length=5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": -1}, "n must be >= 0, got -1"),
        ({"n": 2.5}, "n must be a whole number, got 2.5"),
        ({"n": True}, "n must be a whole number, got True"),
        ({"max_length": None}, "max_length must be a whole number, got None"),
        ({"rng": 1}, r"rng must be a generator, such as numpy.random.default_rng\(1\), got 1"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(given: dict[str, Any], message: str) -> None:
    model = NgramModel.train(["a b"], 2)
    with pytest.raises(InputError, match=f"^{message}$"):
        model.sample(**{"n": 3, "rng": np.random.default_rng(1), **given})
    assert len(model.sample(np.int64(3), np.random.default_rng(1))) == 3


def test_what_the_text_lacks_is_not_drawn() -> None:
    """Of so short a text `<unk>` has much of the mass."""
    model = NgramModel.train(["a b", "c"], KneserNeySettings(order=2))
    assert {word for line in model.sample(500, np.random.default_rng(1)) for word in line.split()} == {"a", "b", "c"}


def test_unk_of_the_text_is_drawn_as_such() -> None:
    model = NgramModel.train(["<unk> a"] * 30, KneserNeySettings(order=2))
    text = " ".join(model.sample(200, np.random.default_rng(1)))
    assert "<unk>" in text
    assert "<oov>" not in text
    assert "<s>" not in text
