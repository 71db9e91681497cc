"""Counts of n-grams against counting them one by one; which words are refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lm_eval.counts import EOS, WordIds, canonical_sentences, count_ngrams, encode

from .strategies import sentences


@given(sentences, st.integers(1, 6))
def test_counts_are_those_of_every_window(lines: list[str], order: int) -> None:
    ids = WordIds()
    tables = count_ngrams(encode(lines, ids), len(ids.words), order)
    spelled: list[list[tuple[str, ...]]] = [[(word,) for word in ids.words]]
    for table in tables[1:]:
        below = spelled[-1]
        spelled.append([(*below[p], ids.words[w]) for p, w in zip(table.prefix, table.word, strict=True)])
        assert [grams[1:] for grams in spelled[-1]] == [below[s] for s in table.suffix]
    for n, (table, grams) in enumerate(zip(tables, spelled, strict=True), 1):
        expected: Counter[tuple[str, ...]] = Counter()
        for line in lines:
            words = ["<s>", *line.replace("<unk>", "<oov>").split(), "</s>"]
            expected.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        del expected[("<s>",)]
        counted = {gram: count for gram, count in zip(grams, table.count.tolist(), strict=True) if count}
        assert counted == dict(expected)
        assert len(set(grams)) == len(grams)


def test_ids_are_given_in_order_of_first_occurrence() -> None:
    ids = WordIds()
    tokens = encode(["b a", "a c"], ids)
    assert ids.words == ["<unk>", "<s>", "</s>", "b", "a", "c"]
    assert tokens.tolist() == [1, 3, 4, 2, 1, 4, 5, 2]


def test_empty_lines_are_sentences() -> None:
    tokens = encode(["", "a", " \t "], WordIds())
    assert tokens.tolist().count(EOS) == 3


def test_unk_of_the_text_is_an_ordinary_word() -> None:
    ids = WordIds()
    tokens = encode(["<unk> a <oov>"], ids).tolist()
    assert ids.words[3:] == ["<oov>", "a"]
    assert tokens == [1, 3, 4, 3, 2]


def test_words_are_separated_by_blanks_and_tabs_only() -> None:
    assert list(canonical_sentences([" a\tb  c\u00a0d "])) == ["a b c\u00a0d"]


@pytest.mark.parametrize("word", ["<s>", "</s>", "<UNK>", "a\0b", "a\x0bb", "a\rb"])
def test_refused_words_are_named_with_their_line(word: str) -> None:
    lines = ["fine", "also fine", f"not {word} fine"]
    with pytest.raises(InputError, match="line 3 contains"):
        encode(lines, WordIds())
    with pytest.raises(InputError, match="line 3 contains"):
        list(canonical_sentences(lines))


def test_words_that_contain_a_reserved_one_are_allowed() -> None:
    assert list(canonical_sentences(["<s>x </s"])) == ["<s>x </s"]
