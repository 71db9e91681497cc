"""Text as training takes it: which tokenizer, which sentences stay, which are validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.sections import TextConfig
from lebm_text.text import reading
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.training import data
from lebm_text.training.data import prepare_text, train_tokenizer

from ..toy import EOS, WORDS, text_corpus


def _corpus(directory: Path, **texts: str) -> Corpus:
    directory.mkdir()
    for split in ("train", "valid", "test"):
        (directory / f"{split}.txt").write_text(texts.get(split, "a b\n"), encoding="utf-8")
    return find_corpus(str(directory))


def test_word_tokenizer_has_the_closed_vocabulary(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(text_corpus(tmp_path / "c"), TextConfig())
    assert tokenizer.kind == "word"
    assert len(tokenizer) == 4 + len(WORDS)


def test_lower_case_and_a_smaller_vocabulary_are_passed_on(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", train="The the THE cat cat Cat dog dog\n")
    plain = train_tokenizer(corpus, TextConfig())
    lower = train_tokenizer(corpus, TextConfig(lowercase=True))
    small = train_tokenizer(corpus, TextConfig(lowercase=True, vocab_size=6))
    assert [plain.decode([i]) for i in range(4, len(plain))] == ["cat", "dog"]
    assert {lower.decode([i]) for i in range(4, len(lower))} == {"the", "cat", "dog"}
    assert {small.decode([i]) for i in range(4, len(small))} == {"the", "cat"}


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("kind", ["word", "sentencepiece"])
def test_what_its_judges_would_refuse_in_lower_case_is_refused_at_the_start(
    tmp_path: Path, split: str, kind: str
) -> None:
    corpus = _corpus(tmp_path / "c", **{"train": "ab ba ab\n" * 9, split: "ab <S> ba ab\n"})
    with pytest.raises(InputError, match=f"{split}.txt holds '<S>', in lower case a reserved word"):
        train_tokenizer(corpus, TextConfig(tokenizer=kind, lowercase=True, vocab_size=9))
    assert train_tokenizer(corpus, TextConfig(tokenizer=kind, vocab_size=12 if kind == "word" else 14)).kind == kind


@pytest.mark.parametrize(
    ("text", "vocab_size", "warned"),
    [
        ("ab ab cd ef\n" * 9, None, False),
        ("ab ab cd ef\n" * 9, 5, False),  # half of them is not most of them
        ("ab ab cd ef gh\n" * 9, 5, True),
        ("".join(f"文{chr(0x4E00 + i)}字\n" for i in range(50)) + "文字\n" * 2, None, True),
        ("ab <unk> <unk> ab <unk>\n" * 9, None, True),
    ],
    ids=["known", "half", "small-vocabulary", "no-blanks", "closed"],
)
def test_text_that_is_mostly_unknown_is_said_with_the_cure(
    tmp_path: Path, text: str, vocab_size: int | None, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_COUNTED", 7)
    corpus, config = _corpus(tmp_path / "c", train=text), TextConfig(vocab_size=vocab_size)
    found = prepare_text(corpus, config, train_tokenizer(corpus, config), 10).warnings
    assert len(found) == warned
    assert all("text.vocab_size" in warning and "text.tokenizer=sentencepiece" in warning for warning in found)


def test_sentencepiece_tokenizer_has_the_size_asked_for(tmp_path: Path) -> None:
    config = TextConfig(tokenizer="sentencepiece", vocab_size=20)
    tokenizer = train_tokenizer(text_corpus(tmp_path / "c"), config)
    assert tokenizer.kind == "sentencepiece"
    assert len(tokenizer) == 20


def test_pieces_of_a_long_text_are_learned_from_a_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = _corpus(tmp_path / "c", train="ab ba\ncd dc\n" * 15)
    config = TextConfig(tokenizer="sentencepiece", vocab_size=8)
    monkeypatch.setattr(data, "PIECES_FROM", 15)
    part = train_tokenizer(corpus, config)  # every second sentence
    monkeypatch.setattr(data, "PIECES_FROM", 30)
    with pytest.raises(InputError, match="too small"):
        train_tokenizer(corpus, config)
    assert part.unk_id in part.encode("cd")
    assert part.unk_id not in part.encode("ab ba")


def test_what_the_cache_keeps_of_a_text_is_what_is_computed_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, config = text_corpus(tmp_path / "c"), TextConfig(max_length=5)

    def prepared() -> tuple[str, list[int], list[int], list[str], tuple[str, ...]]:
        tokenizer = train_tokenizer(corpus, config)
        text = prepare_text(corpus, config, tokenizer, 5)
        encoded = text.train.tokens.tolist(), text.train.offsets.tolist()
        return tokenizer.fingerprint(), *encoded, text.valid_sentences, text.notices

    anew = prepared()
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "KEPT_FROM", 1)
    assert prepared() == prepared() == anew
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["encoded", "tokenizers"]
    assert "left out" in anew[-1][0]


def test_training_text_is_all_of_it_encoded(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", train="a b a\nb\nb b a b\n")
    tokenizer = train_tokenizer(corpus, TextConfig())
    text = prepare_text(corpus, TextConfig(), tokenizer, 5)
    rows = [text.train.tokens[i:j].tolist() for i, j in zip(text.train.offsets, text.train.offsets[1:], strict=False)]
    assert [tokenizer.decode(row) for row in rows] == ["a b a", "b", "b b a b"]
    assert all(row[-1] == EOS for row in rows)
    assert text.notices == ()


def test_longer_sentences_are_left_out_and_counted(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", train="a b a\nb b\nb b a b\nb a\n", valid="a a a\na b\nb\n")
    config = TextConfig(max_length=2)
    text = prepare_text(corpus, config, train_tokenizer(corpus, config), 10)
    assert text.train.lengths.tolist() == [3, 3]  # with </s>
    assert text.notices == ("left out 2 of 4 train sentences: longer than 2 tokens",)
    assert text.valid_sentences == ["a b", "b"]
    assert text.valid.lengths.tolist() == [3, 2]


def test_nothing_left_is_an_input_error(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c", train="a b a\nb b a b\n")
    config = TextConfig(max_length=2)
    with pytest.raises(InputError, match=r"text\.max_length = 2"):
        prepare_text(corpus, config, train_tokenizer(corpus, config), 10)


def test_validation_sentences_are_a_fixed_choice_in_their_order(tmp_path: Path) -> None:
    lines = [f"a b {'a ' * (i % 4)}b".strip() for i in range(40)]
    corpus = _corpus(tmp_path / "c", train="a b\n" * 3, valid="".join(f"{line}\n" for line in lines))
    tokenizer = train_tokenizer(corpus, TextConfig())

    def chosen(n: int) -> list[str]:
        text = prepare_text(corpus, TextConfig(), tokenizer, n)
        decoded = [
            tokenizer.decode(text.valid.tokens[i:j])
            for i, j in zip(text.valid.offsets, text.valid.offsets[1:], strict=False)
        ]
        assert decoded == text.valid_sentences
        return decoded

    assert chosen(12) == chosen(12)
    assert len(chosen(12)) == 12
    remaining = iter(lines)
    assert all(sentence in remaining for sentence in chosen(12))  # a subsequence
    assert chosen(12) != lines[:12]
    assert chosen(40) == chosen(1000) == lines
    assert chosen(0) == []


def test_a_text_that_repeats_no_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="repeats no word"):
        train_tokenizer(_corpus(tmp_path / "c", train="a b\nc d\n"), TextConfig())
