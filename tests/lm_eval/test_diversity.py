"""Rates, distinct-n, repetition and BLEU on texts whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from lebm_text.errors import InputError
from lm_eval.diversity import (
    bleu_against,
    compare_each,
    distinct_n,
    length_distance,
    self_bleu,
    sequence_repetition,
    shares_in_train,
    summarise,
)

from .grammar import grammar_sentences
from .strategies import sentences


def test_rates() -> None:
    summary = summarise(["a b", "", "a  b", "c <unk> d e"], train=["a b", "x"])
    assert summary.n_sentences == 4
    assert summary.mean_length == 2
    assert summary.empty_rate == 0.25
    assert summary.duplicate_rate == 0.25  # blanks make no other sentence
    assert summary.in_train_rate == 0.5
    assert summary.unk_rate == 0.25
    assert summary.unk_token_rate == 1 / 8
    # Of 0, 2, 2 and 4 words.
    assert summary.length_quantiles == pytest.approx(np.quantile([0, 2, 2, 4], [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert summary.truncated_rate is None
    assert summarise(["a"], [], truncated_rate=0.5).truncated_rate == 0.5


def test_length_distance_is_the_mean_number_of_words_to_move() -> None:
    assert length_distance(["a b", "a b c d"], ["x", "x y z"]) == 1
    assert length_distance(["a b", ""], ["", "a b", "a b", ""]) == 0
    assert length_distance([""], ["a b c"]) == 3


@given(sentences)
def test_distinct_n_is_types_over_tokens(lines: list[str]) -> None:
    for n, share in enumerate(distinct_n(lines), 1):
        grams = [tuple(words[i : i + n]) for words in map(str.split, lines) for i in range(len(words) - n + 1)]
        assert share == pytest.approx(len(set(grams)) / len(grams) if grams else 0)


def test_a_string_or_a_column_of_a_table_is_not_taken_for_a_list() -> None:
    lines = [f"the cat {i} sees the dog {i % 3} ." for i in range(9)]
    column = pytest.importorskip("pandas").Series(lines[::-1], index=range(9)[::-1])
    assert self_bleu(column) == self_bleu(lines[::-1])
    for measure in (self_bleu, lambda text: bleu_against(text, lines), lambda text: bleu_against(lines, text)):
        with pytest.raises(InputError, match="expected a list of sentences, got one string"):
            measure("one string")
        with pytest.raises(InputError, match="which are strings; number 2 is 5"):
            measure(["a b", 5])  # type: ignore[list-item]
    with pytest.raises(InputError, match="seed must be >= 0, got -1"):
        self_bleu(lines, seed=-1)


def test_repetition_within_a_sentence() -> None:
    assert sequence_repetition(["a b c d e f"]) == 0
    assert sequence_repetition(["a a a a a"]) == 0.5  # two 4-grams, one of them new
    assert sequence_repetition(["a b"]) == 0
    assert sequence_repetition(["a a a a a", "a b c d"]) == 0.25


@given(st.lists(sentences, min_size=1, max_size=3), sentences)
def test_shares_in_train_count_occurrences_of_words_within_a_sentence(texts: list[list[str]], train: list[str]) -> None:
    def grams(lines: list[str], n: int) -> list[tuple[str, ...]]:
        return [tuple(words[i : i + n]) for words in map(str.split, lines) for i in range(len(words) - n + 1)]

    for text, shares in zip(texts, shares_in_train(texts, train), strict=True):
        for n in (3, 4, 6):
            copied = [gram in set(grams(train, n)) for gram in grams(text, n)]
            assert shares[str(n)] == pytest.approx(sum(copied) / max(len(copied), 1))


def test_shares_in_train_of_known_texts() -> None:
    text = ["a b c d e f", "a b c a b c", "x <unk> a b c"]
    train = ["d e f", "e f a b c d e", "<unk> a b", "new words too"]
    # 3-grams: abc, bcd, cde, def · abc, -, -, abc · -, (<unk> is a word) <unk>ab, abc
    expected = {"3": 8 / 11, "4": 2 / 8, "6": 0.0}
    assert shares_in_train([text, train, ["a b", ""], []], train) == [
        expected, dict.fromkeys("346", 1.0), dict.fromkeys("346", 0.0), dict.fromkeys("346", 0.0)
    ]  # fmt: skip
    assert shares_in_train([text], []) == [dict.fromkeys("346", 0.0)]


def test_self_bleu_of_one_sentence_repeated_is_100_and_of_unlike_sentences_near_0() -> None:
    same = self_bleu(["the cat sat on the mat"] * 20)
    assert same.score == pytest.approx(100)
    unlike = self_bleu([" ".join(f"w{i}-{j}" for j in range(6)) for i in range(20)])
    assert unlike.score < 5
    for part in ("n:20", "refs:all-others", "seed:1", "tok:none"):
        assert part in same.signature


def test_bleu_of_references_is_100_and_samples_are_drawn_by_seed() -> None:
    lines = [f"the number {i} is not {i + 1} but {i}" for i in range(400)]
    assert bleu_against(lines[:80], lines[:80]).score == pytest.approx(100)
    assert self_bleu(lines, seed=1) == self_bleu(lines, seed=1)
    assert self_bleu(lines, seed=1).signature != self_bleu(lines, seed=2).signature
    one, other = (bleu_against(lines, lines[::-1], seed=seed) for seed in (1, 2))
    assert one.score != other.score
    assert "|n:200|refs:200|" in one.signature


@pytest.mark.parametrize("seed", range(3))
def test_bleu_is_what_sacrebleu_says_of_each_sentence_and_its_references(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines, others = ([" ".join(rng.choice(list("abcd"), rng.integers(0, 12))) for _ in range(n)] for n in (15, 9))
    by_sacrebleu = BLEU(tokenize="none", force=True)
    references = [[*lines[:i], *lines[i + 1 :]] for i in range(15)]
    of_others = by_sacrebleu.corpus_score(lines, list(zip(*references, strict=True)))
    assert self_bleu(lines).score == pytest.approx(of_others.score, rel=1e-12)
    assert self_bleu(lines).signature.endswith(str(by_sacrebleu.get_signature()))
    of_real = by_sacrebleu.corpus_score(lines, [[line] * 15 for line in others])
    assert bleu_against(lines, others).score == pytest.approx(of_real.score, rel=1e-12)
    assert bleu_against(lines, others).signature.endswith(str(by_sacrebleu.get_signature()))


def test_too_few_sentences_have_no_self_bleu() -> None:
    assert self_bleu(["alone here"]).score == 0
    assert self_bleu([]).score == 0


def test_comparison_puts_texts_of_one_size_side_by_side() -> None:
    """distinct-n falls with the size of a text, so that of 50 sentences is not compared with that of 800."""
    train, held_out = grammar_sentences(800, 1), grammar_sentences(50, 2)
    found, same = compare_each([train, held_out], held_out, train)
    assert found.real_distinct_n == distinct_n(held_out)
    assert found.distinct_n != distinct_n(train)
    assert found.distinct_n[1] == pytest.approx(found.real_distinct_n[1], rel=0.15)
    assert "n:50|" in found.signature
    assert found.sequence_repetition_4 == sequence_repetition(train)
    assert found.in_train == {"3": 1.0, "4": 1.0, "6": 1.0}
    assert [found.real_in_train] == shares_in_train([held_out], train)
    assert 0 < found.real_in_train["6"] < found.real_in_train["3"] < 1
    assert found.bleu == found.real_bleu
    assert same.bleu.score == pytest.approx(100)


def test_texts_compared_together_have_the_figures_of_each_alone() -> None:
    train, held_out = grammar_sentences(300, 1), grammar_sentences(60, 2)
    texts = [grammar_sentences(100, 3), grammar_sentences(20, 4), held_out]
    assert compare_each(texts, held_out, train, seed=5) == [
        compare_each([text], held_out, train, seed=5)[0] for text in texts
    ]
    assert compare_each([], held_out, train) == []
