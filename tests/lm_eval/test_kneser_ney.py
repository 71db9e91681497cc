"""The estimator against a model worked out by hand, against lmplz, and against the laws of probability."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from lebm_text.errors import InputError
from lm_eval import kneser_ney
from lm_eval.kenlm import write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel

from .grammar import grammar_sentences
from .reference import GRAMMAR, TINY, Arpa, log_prob, parse_arpa, settings_of
from .strategies import sentences, settings

QUIRKS = [reference for reference in TINY if reference["name"].endswith("_quirk")]


def name_of(reference: dict[str, Any]) -> str:
    return f"{reference['name']}-{reference['order']}{reference['options']}"


def arpa_of(lines: list[str], options: KneserNeySettings, directory: Path) -> Arpa:
    write_arpa(NgramModel.train(lines, options), directory / "model.arpa")
    return parse_arpa((directory / "model.arpa").read_text(encoding="utf-8"))


def largest_difference(found: Arpa, expected: Arpa) -> float:
    """Of two logs; a back-off of 0 is -99 in ours, since kenlm reads no minus infinity there."""
    expected = {gram: (log_prob, max(log_backoff, -99.0)) for gram, (log_prob, log_backoff) in expected.items()}
    pairs = zip(
        (value for gram in expected for value in found[gram]),
        (value for gram in expected for value in expected[gram]),
        strict=True,
    )
    return max(0.0 if a == b else abs(a - b) for a, b in pairs)


def test_one_word_by_hand(tmp_path: Path) -> None:
    """`a`: every count is 1, so every order takes the fallback and discounts 1/2."""
    arpa = arpa_of(["a"], KneserNeySettings(order=2), tmp_path)
    word = 1 / 4 + 1 / 2 / 3  # (1 - 1/2) / 2 kept, half the mass shared by <unk>, </s> and a
    bigram = 1 / 2 + 1 / 2 * word
    expected = {
        ("<unk>",): (1 / 6, 1),
        ("<s>",): (1, 1 / 2),
        ("</s>",): (word, 1),
        ("a",): (word, 1 / 2),
        ("<s>", "a"): (bigram, 1),
        ("a", "</s>"): (bigram, 1),
    }
    assert arpa.keys() == expected.keys()
    for gram, values in expected.items():
        assert arpa[gram] == pytest.approx([math.log10(value) for value in values], abs=1e-7)


@pytest.mark.parametrize("reference", TINY, ids=name_of)
def test_agrees_with_lmplz(reference: dict[str, Any], tmp_path: Path) -> None:
    lines = reference["text"].split("\n")[:-1]
    model = NgramModel.train(lines, settings_of(reference))
    write_arpa(model, tmp_path / "model.arpa")
    found = parse_arpa((tmp_path / "model.arpa").read_text(encoding="utf-8"))
    expected = parse_arpa(reference["arpa"])
    assert found.keys() == expected.keys()
    assert largest_difference(found, expected) < 1e-6
    assert model.fallback_orders == reference["fallback_orders"]


def test_some_reference_has_a_back_off_of_zero() -> None:
    """`e` goes on with what was counted twice alone, and the discount of that is 0."""
    found = [reference["name"] for reference in TINY if "-inf" in reference["arpa"]]
    assert "no_backoff" in found


@pytest.mark.parametrize("reference", GRAMMAR["models"], ids=lambda r: f"{r['order']}{r['options']}")
def test_agrees_with_lmplz_on_2000_sentences(reference: dict[str, Any], tmp_path: Path) -> None:
    train, test = grammar_sentences(2000, 5), [*grammar_sentences(50, 6), "never seen <unk>", ""]
    digest = hashlib.sha256("\n".join([*train, *test]).encode()).hexdigest()
    assert digest == GRAMMAR["text_sha256"], "the grammar says other sentences than those that lmplz has read"
    model = NgramModel.train(train, settings_of(reference))
    assert model.fallback_orders == reference["fallback_orders"]
    found = arpa_of(train, settings_of(reference), tmp_path)
    by_order = [[values for gram, values in found.items() if len(gram) == n] for n in range(1, model.order + 1)]
    assert list(map(len, by_order)) == reference["ngram_counts"]
    for values, log_probs, log_backoffs in zip(
        by_order, reference["log_prob_sums"], reference["log_backoff_sums"], strict=True
    ):
        assert np.sum(values, 0) == pytest.approx((log_probs, log_backoffs), abs=1e-4 + 5e-7 * len(values))
    for gram, *logs in reference["ngrams"]:
        assert found[tuple(gram.split(" "))] == pytest.approx(logs, abs=1e-6)
    scores = model.score(test)
    np.testing.assert_allclose(scores.nll, reference["nll"], rtol=0, atol=2e-5)
    assert int(scores.n_oov.sum()) == reference["n_oov"]


@pytest.mark.parametrize("reference", QUIRKS, ids=name_of)
def test_reference_tells_lmplz_statistics_from_the_textbook(
    reference: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kneser_ney, "_last_types", lambda _counts: [])
    reference = {**reference, "options": reference["options"] + " --discount_fallback"}
    found = arpa_of(reference["text"].split("\n")[:-1], settings_of(reference), tmp_path)
    assert largest_difference(found, parse_arpa(reference["arpa"])) > 1e-3


@pytest.mark.parametrize("reference", [r for r in TINY if r["fallback_orders"]], ids=name_of)
def test_without_fallback_the_order_that_fails_is_named(reference: dict[str, Any]) -> None:
    options = KneserNeySettings(order=reference["order"], fallback=False)
    with pytest.raises(InputError, match=f"discounts of the {reference['fallback_orders'][0]}-grams"):
        NgramModel.train(reference["text"].split("\n")[:-1], options)


def test_fallback_replaces_only_the_orders_that_fail() -> None:
    reference = next(reference for reference in TINY if reference["name"] == "empties")
    model = NgramModel.train(reference["text"].split("\n")[:-1], settings_of(reference))
    values = [discounts.values for discounts in model.discounts]
    assert values[0] == values[2] == (0.5, 1.0, 1.5)
    assert values[1] == pytest.approx((0.714286, 0.928571, 0.142857), abs=1e-6)


@hypothesis_settings(max_examples=60, deadline=None)
@given(sentences, settings())
def test_probabilities_sum_to_one_in_every_context(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], options: KneserNeySettings
) -> None:
    arpa = arpa_of(lines, options, tmp_path_factory.mktemp("model"))
    words = [gram[0] for gram in arpa if len(gram) == 1 and gram != ("<s>",)]
    unseen = max(options.vocab_pad - len(words), 0)
    contexts = [gram for gram in arpa if len(gram) < options.order and gram[-1] not in ("</s>", "<unk>")]
    for context in [(), *contexts]:
        total = sum(10 ** log_prob(arpa, context, word) for word in words)
        total += unseen * 10 ** log_prob(arpa, context, "<unk>")
        assert total == pytest.approx(1, abs=2e-6)


@given(sentences, settings())
@hypothesis_settings(max_examples=60, deadline=None)
def test_pruning_keeps_what_is_frequent_and_what_that_needs(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], options: KneserNeySettings
) -> None:
    counts: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        words = ["<s>", *line.replace("<unk>", "<oov>").split(), "</s>"]
        counts.update(
            tuple(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + options.order, len(words)) + 1)
        )
    frequent = {gram for gram, count in counts.items() if count > options.threshold(len(gram))}
    kept = arpa_of(lines, options, tmp_path_factory.mktemp("model")).keys()
    assert kept == frequent | {("<unk>",), ("<s>",), ("</s>",)}
    whole = NgramModel.train(
        lines, KneserNeySettings(options.order, (), options.vocab_pad, options.interpolate_unigrams)
    )
    pruned = NgramModel.train(lines, options)
    assert {"<unk>", "<s>", "</s>"} <= set(pruned.words) <= set(whole.words)
    for table, below, all_of_it in zip(pruned.tables[1:], pruned.tables, whole.tables[1:], strict=False):
        assert len(table) <= len(all_of_it)
        for part in (table.prefix, table.suffix):
            assert not len(part) or (part.min() >= 0 and part.max() < len(below))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 1}, "order must be 2 to 6, got 1"),
        ({"prune": (2, 1)}, r"prune thresholds must be at least 0 and must not decrease, got \(2, 1\)"),
        ({"prune": (-1,)}, r"prune thresholds must be at least 0 and must not decrease, got \(-1,\)"),
        ({"prune": (0, 0.5)}, r"prune\[1\] must be a whole number, got 0.5"),
        ({"prune": 1}, "prune must be a list, got 1"),
        ({"order": 2, "prune": (0, 0, 1)}, r"prune takes at most 2 thresholds \(one an order\), got 3"),
        ({"vocab_pad": -1}, "vocab_pad must be at least 0, got -1"),
        ({"vocab_pad": math.nan}, "vocab_pad must be a whole number, got nan"),
        ({"vocab_pad": 100.5}, "vocab_pad must be a whole number, got 100.5"),
        ({"vocab_pad": 9, "interpolate_unigrams": False}, "vocab_pad needs interpolated unigrams: .*"),
        ({"fallback": "no"}, "fallback must be true or false, got 'no'"),
    ],
)
def test_settings_that_make_no_model_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        KneserNeySettings(**options)


def test_last_threshold_holds_for_the_orders_above() -> None:
    options = KneserNeySettings(order=4, prune=(0, 1))
    assert [options.threshold(n) for n in (1, 2, 3, 4)] == [0, 1, 1, 1]


def test_same_text_gives_the_same_model() -> None:
    lines = TINY[2]["text"].split("\n")[:-1]
    first, second = (NgramModel.train(lines, KneserNeySettings(order=3)) for _ in range(2))
    for one, other in zip(first.tables, second.tables, strict=True):
        assert np.array_equal(one.log_prob, other.log_prob)
        assert np.array_equal(one.prefix, other.prefix)
