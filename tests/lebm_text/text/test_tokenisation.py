"""Raw text gets the words that the corpus has, whichever way that was tokenised."""

from __future__ import annotations

import re
import time
from string import ascii_lowercase

import pytest

import lm_eval
from lebm_text.text.tokenisation import raw_tokenisation, rawness, tokenisation_of

from ...lm_eval.everyday import everyday_sentences, glued

MANY = " ".join(a + b for a in ascii_lowercase for b in ascii_lowercase)
TRAIN = everyday_sentences(2000, 1)


@pytest.mark.parametrize(
    ("train", "name", "raw", "words"),
    [
        (["i do n't , it 's ."], "13a+lower", "I don't, it's.", "i do n't , it 's ."),
        (["I do n't , it 's .", "He"], "13a", "He don't, It's.", "He do n't , It 's ."),
        (["i don't , it's ."], "13a+lower", "I don't, it's.", "i don't , it's ."),
        (["the u.s. , and the food ."], "13a+lower", "The food. U.S. zyzzyva.", "the food . u.s. zyzzyva ."),
        (["food . food . typo food."], "13a+lower", "food.", "food ."),
        (["a &amp; b ."], "13a+lower", "A &amp; b.", "a &amp; b ."),
        (["a & b ."], "13a+lower", "A &amp; b <skipped>.", "a & b ."),
        (["so ... , well ."], "13a+lower", "Well... so.", "well ... so ."),
        (["inc. said"], "13a+lower+bare", "Said inc., (said).", "said inc. said"),
        (["a b . $ _num_ , c"], "13a+lower+_num_", "A costs $3,000.50.", "a costs $ _num_ ."),
        ([f"{MANY} N years , N ."], "13a+lower+N", "7 years", "N years"),
        (["a . 3 , b"], "13a+lower", "7 b", "7 b"),
        (["a <unk> ."], "13a+lower", "A <unk>. the <unk>'s", "a <unk> . the <unk> 's"),
        (["今日は晴れ", "明日は<unk>雨"], "char+lower", "今日 は<unk>", "今 日 は <unk>"),
        (["昨日は雨が降りましたので外に出ませんでした 今日はたいへんよく晴れています"], "char+lower", "今日", "今 日"),
    ],
)  # fmt: skip
def test_words_are_those_of_the_training_text(train: list[str], name: str, raw: str, words: str) -> None:
    how = tokenisation_of(train)
    assert how.name == name
    assert how.sentence(raw) == words


def test_what_people_type_becomes_the_corpus_again() -> None:
    how = tokenisation_of(TRAIN)
    assert [how.sentence(glued(line)) for line in TRAIN] == TRAIN
    assert list(map(how.sentence, TRAIN)) == TRAIN
    assert how.real(TRAIN) == TRAIN


def test_a_long_run_of_signs_takes_no_longer_than_words() -> None:
    how, start = tokenisation_of(["good . , ! ?"]), time.process_time()
    assert how.sentence("good" + "!?" * 10_000) == "good" + " ! ?" * 10_000
    assert time.process_time() - start < 20  # about 0.3 s; it was minutes


def test_tokenised_samples_have_the_perplexity_of_the_text_itself() -> None:
    samples, test = everyday_sentences(1000, 3), everyday_sentences(500, 2)
    raw = list(map(glued, samples))
    plain, tokenised = lm_eval.fppl(samples, TRAIN), lm_eval.fppl(raw, TRAIN, tokenize=True)
    assert lm_eval.fppl(raw, TRAIN).ppl > 2 * plain.ppl
    assert tokenised.ppl == pytest.approx(plain.ppl, rel=0.02)
    assert tokenised.warnings == ()
    assert tokenised.signature == plain.signature.replace("tok:word", "tok:13a+lower")
    reverse = lm_eval.rppl(raw, test, tokenize=True)
    assert reverse.ppl == pytest.approx(lm_eval.rppl(samples, test).ppl, rel=0.02)


def test_text_without_blanks_is_read_by_characters_on_both_sides() -> None:
    real = [f"昨日は{'雨雪晴風'[i % 4]}が{i % 24}時まで降りました。" for i in range(200)]
    score = lm_eval.fppl(real[:50], real, tokenize=True)
    assert not any("outside the vocabulary" in warning for warning in score.warnings)
    assert 1.1 < score.ppl < 3
    assert score.signature.endswith("|tok:char+lower")


def test_who_tokenised_is_not_told_to() -> None:
    (warning,) = lm_eval.fppl(["qz1 qz2 ."] * 20, TRAIN, tokenize=True).warnings
    assert "66.7% of the samples' words are outside the vocabulary" in warning
    assert "--tokenize" not in warning


def test_a_corpus_made_of_raw_text_is_read_back_by_its_own_tokenisation() -> None:
    raw = [glued(line) for line in TRAIN]
    words = raw_tokenisation(lowercase=True)
    made = [words(line) for line in raw]
    how = tokenisation_of(made)
    assert how.name == "13a+lower"
    assert [how.sentence(line) for line in raw] == made


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("the price of N shares rose to $ N , mr. smith said here to the men of the two companies , he said .", None),
        (
            "The price of two shares rose , said Smith of New York .",
            r"31% with capitals: lebm-text data import .* by --lowercase",
        ),
        ("the price rose, he said.", r"40% with punctuation attached: lebm-text data import .* by --tokenize"),
        ("The price rose, he said.", r"20% with capitals, 40% with punctuation .*: .* by --lowercase, --tokenize"),
        (
            "今日はたいへんよく晴れています。",
            "hardly any blanks between words: train with text.tokenizer=sentencepiece, judge with --tokenize",
        ),
        (f"one word of this text is {'long' * 1000} , and that says nothing of all the others in it .", None),
        ("a b c", None),
    ],
)
def test_raw_text_is_noticed(sentence: str, said: str | None) -> None:
    notice = rawness([sentence] * 3, "mine")
    assert notice is None if said is None else re.fullmatch(f"mine has .*{said}.*", notice or "")
