"""Text to ids and back, through both tokenizers; saving, loading, and what broken files say."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.store import sha256_file
from lebm_text.text.corpora import find_corpus
from lebm_text.text.escaping import escape, unescape
from lebm_text.text.reading import RESERVED, Split, normalise, readable
from lebm_text.text.tokenizers import (
    SPECIALS,
    SentencePieceTokenizer,
    Tokenizer,
    WordTokenizer,
    closed_vocabulary,
    learn_tokenizer,
    load_tokenizer,
)

from ..toy import write_text_corpus
from .conftest import entries

SENTENCES = [
    "the cat sat on the mat .",
    "the dog sat on the log .",
    "a cat and a dog met on a mat .",
    "naïve cats don't mind — they sit .",
    "some dogs would rather sit on a warm mat than on a cold log .",
    "another cat was sitting there when the other dogs came to sit .",
]
KNOWN = ["the", "cat", "sat", "on", "a", "mat", "dog", "<unk>", ".", "don't", "naïve", "—"]
WORDS = WordTokenizer(["the", "a", "cat", "dog"])
PIECES = SentencePieceTokenizer.train(SENTENCES, 45)
of_each_kind = pytest.mark.parametrize(
    "tokenizer", [WordTokenizer.train(SENTENCES), PIECES], ids=["word", "sentencepiece"]
)

words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\r\n\v\f\0"), min_size=1, max_size=6
).filter(lambda word: word not in RESERVED)
sentences = st.lists(words, max_size=8).map(" ".join)


def test_vocabulary_of_open_text_leaves_singletons_out() -> None:
    assert closed_vocabulary(["b a b", "c a b", "d"]) == ["<unk>", "b", "a"]


def test_vocabulary_of_closed_text_keeps_every_type() -> None:
    assert closed_vocabulary(["b <unk> b", "c a", "c"]) == ["<unk>", "b", "c", "a"]


def test_vocabulary_ties_are_in_code_point_order_whatever_the_order_of_the_text() -> None:
    text = ["é z A a", "a A z é"]
    assert closed_vocabulary(text) == closed_vocabulary(text[::-1]) == ["<unk>", "A", "a", "z", "é"]


@settings(deadline=None)
@given(st.lists(sentences, max_size=6))
def test_word_round_trip_gives_the_sentence_with_unknown_words_marked(text: list[str]) -> None:
    tokenizer = WordTokenizer.train(text)
    known = set(closed_vocabulary(text))
    for sentence in text:
        ids = tokenizer.encode(sentence)
        expected = " ".join(w if w in known else "<unk>" for w in sentence.split(" ")) if sentence else ""
        assert tokenizer.decode(ids) == expected
        assert len(ids) == (len(sentence.split(" ")) if sentence else 0)
        assert not {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id} & set(ids)


def test_word_ids_are_specials_then_words_by_frequency() -> None:
    tokenizer = WordTokenizer.train(["b a b c", "a b"])
    assert [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id] == [0, 1, 2, 3]
    assert len(tokenizer) == 6
    assert tokenizer.encode("b a c <unk> zz") == [4, 5, 1, 1, 1]


@of_each_kind
def test_reserved_tokens_in_text_never_become_their_ids(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<s> the </s> <pad> cat")
    assert not {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id} & set(ids)


@of_each_kind
def test_decode_skips_structure_and_refuses_foreign_ids(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat")
    assert tokenizer.decode([2, *ids, 3, 0, 0]) == "the cat"
    assert tokenizer.decode(np.array([2, *ids, 3], dtype=np.int64)) == "the cat"
    for foreign in (-1, len(tokenizer)):
        with pytest.raises(ValueError, match="outside the vocabulary"):
            tokenizer.decode([foreign])


def test_lowercase_is_part_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.train(["The the", "CAT cat"], lowercase=True)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).encode("tHE Cat") == tokenizer.encode("the cat") == [5, 4]
    pieces = SentencePieceTokenizer.train([s.upper() for s in SENTENCES], 45, lowercase=True)
    (tmp_path / "pieces").mkdir()
    pieces.save(tmp_path / "pieces")
    for either in (pieces, load_tokenizer(tmp_path / "pieces")):
        assert either.decode(either.encode("The CAT")) == "the cat"


def test_lower_case_is_that_of_the_judges_for_pieces_too() -> None:
    """NFKC and case folding made three characters of "½" and "fi" of a ligature: words that no judge knew."""
    text = ["Straße ½ ﬁn ＡＢ ΑΣ Σ İI x² Ⅷ", "µ ſ ᾳ Ⅷ"]
    pieces = SentencePieceTokenizer.train(text * 20, 60, lowercase=True)
    known = {word for line in text for word in line.lower().split(" ")}
    assert [pieces.decode(pieces.encode(line)) for line in text] == [line.lower() for line in text]
    assert {word for line in text for word in pieces.decode(pieces.encode(line)).split(" ")} <= known


ODD = st.text(
    st.sampled_from([*"aé '<>s/ \u2581\u2585\u2047\u3000\u00a0\ufdd0\ufdd1\ufdd6\x1c\u2028\ufeff"]), max_size=6
)
GLUED = st.sampled_from(["<unk>", "<s>", "</s>", "<pad>", "<unk>'s", "x<s>y", "</s>.", "<UNK>x", "<<unk>>"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(ODD | GLUED, max_size=6).map("".join), max_size=6))
def test_no_character_is_lost_on_the_way_through_pieces(text: list[str]) -> None:
    text = [*SENTENCES, *map(readable, map(normalise, text))]
    pieces = SentencePieceTokenizer.train(text, 100)
    for line in text:
        assert pieces.decode(pieces.encode(line)) == line


@given(st.lists(ODD | GLUED).map("".join))
def test_what_is_escaped_has_nothing_of_the_library_and_comes_back(text: str) -> None:
    assert not any(own in escape(text) for own in ("\u2581", "\u2585", *SPECIALS))
    assert unescape(escape(text)) == text
    unescape(text)


def test_pieces_never_spell_what_no_judge_can_read() -> None:
    pieces = SentencePieceTokenizer.train([*SENTENCES, "x<s>y z</s> <S> <unk>s <UN K>"] * 3, 60)
    spelled = {piece: i for i, piece in enumerate(pieces._tokens)}
    assert pieces.decode(pieces.encode("<s> cat </s> <UNK> <pad>")) == "<unk> cat <unk> <unk> <unk>"
    blank, begin = spelled["\u2581"], spelled["\ufdd5"]
    assert pieces.decode([blank, begin]) == "<unk>"
    assert pieces.decode([blank, begin, spelled["s"]]) == "<s>s"


def test_words_of_an_earlier_run_that_no_judge_can_read_are_written_as_unknown() -> None:
    tokenizer = WordTokenizer(["a", "<UNK>", "b\x0bc"])
    assert tokenizer.decode([4, 5, 6]) == "a <unk> <unk>"


def _of_version_1(lowercase: bool) -> bytes:
    """A model as it was made before there was a field in front of it."""
    import sentencepiece

    options: dict[str, Any] = {f"{name}_id": i for i, name in enumerate(("pad", "unk", "bos", "eos"))}
    options |= {"normalization_rule_name": "nfkc_cf" if lowercase else "identity", "character_coverage": 1.0}
    text, model = ["Straße the cat ½ a\u2581b", *SENTENCES], io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("lowercase", "expected"), [(True, "straße 1⁄2 a b"), (False, "Straße ½ a b")], ids=["folded", "as-it-is"]
)
def test_models_of_earlier_runs_encode_as_they_did(tmp_path: Path, lowercase: bool, expected: str) -> None:
    (tmp_path / "spm.model").write_bytes(_of_version_1(lowercase))
    pieces = load_tokenizer(tmp_path)
    assert pieces.decode(pieces.encode("Straße ½ a\u2581b")) == expected
    assert pieces.fingerprint() == sha256_file(tmp_path / "spm.model")


@of_each_kind
@pytest.mark.parametrize("given", [None, b"the cat", ["the", "cat"], 7, float("nan")], ids=repr)
def test_what_is_no_sentence_is_said_to_be_none(tokenizer: Tokenizer, given: Any) -> None:
    with pytest.raises(InputError, match="a sentence is a str, got"):
        tokenizer.encode(given)
    with pytest.raises(InputError, match="number 2 is"):
        tokenizer.encode_many(["the cat", given])


@of_each_kind
def test_one_string_is_no_list_of_sentences(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="got one string"):
        tokenizer.encode_many("the cat")


def test_half_a_character_is_no_sentence() -> None:
    for tokenizer in (WORDS, PIECES):
        with pytest.raises(InputError, match=r"half a character, '\\ud800'"):
            tokenizer.encode("the \ud800 cat")


@settings(deadline=None)
@given(st.lists(st.sampled_from(KNOWN), max_size=10).map(" ".join))
def test_piece_round_trip_gives_the_sentence(sentence: str) -> None:
    assert PIECES.decode(PIECES.encode(sentence)) == sentence


@settings(deadline=None)
@given(sentences)
def test_pieces_encode_any_sentence_within_the_vocabulary(sentence: str) -> None:
    ids = PIECES.encode(sentence)
    assert all(i == 1 or 4 <= i < len(PIECES) for i in ids)
    PIECES.decode(ids)


def test_pieces_have_the_ids_of_the_project_and_unk_is_one_id() -> None:
    assert PIECES.encode("<unk>") == [1]
    assert PIECES.decode([1]) == "<unk>"
    assert tuple(PIECES._tokens[:4]) == SPECIALS


def test_pieces_train_to_the_same_bytes_and_silently(capfd: pytest.CaptureFixture[str]) -> None:
    again = SentencePieceTokenizer.train(iter(SENTENCES), 45)
    assert again.fingerprint() == PIECES.fingerprint()
    assert SentencePieceTokenizer.train(SENTENCES, 40).fingerprint() != PIECES.fingerprint()
    assert capfd.readouterr() == ("", "")


def test_too_large_a_vocabulary_is_reduced_with_a_notice() -> None:
    tokenizer = SentencePieceTokenizer.train(SENTENCES, 5000)
    assert len(tokenizer) < 5000
    assert len(tokenizer.notices) == 1 and str(len(tokenizer)) in tokenizer.notices[0]
    assert SentencePieceTokenizer.train(SENTENCES, 40).notices == ()


def test_too_small_a_vocabulary_says_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"vocab_size 8 is too small: .* need \d+ at least"):
        SentencePieceTokenizer.train(SENTENCES, 8)


def test_no_text_to_learn_pieces_from() -> None:
    with pytest.raises(InputError, match="too short"):
        SentencePieceTokenizer.train(["", "<unk>"], 50)


def test_unk_teaches_no_pieces() -> None:
    """The runs of words between are learned from, as if each were a sentence."""
    lines = [" ".join("<unk>" if word == "cat" else word for word in sentence.split()) for sentence in SENTENCES]
    runs = [run.strip() for line in lines for run in line.split("<unk>")]
    assert len(runs) > len(lines)
    with_unk = SentencePieceTokenizer.train(lines, 45)
    assert with_unk.fingerprint() == SentencePieceTokenizer.train(runs, 45).fingerprint()


@of_each_kind
def test_saved_tokenizer_comes_back_with_its_fingerprint(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.kind, len(loaded), loaded.fingerprint()) == (
        tokenizer.kind,
        len(tokenizer),
        tokenizer.fingerprint(),
    )
    assert loaded.encode("a dog met zebras") == tokenizer.encode("a dog met zebras")


_GOOD = {"format": "lebm-text word tokenizer", "version": 1, "lowercase": False, "words": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "'format' should be"),
        ({**_GOOD, "format": "other"}, "'format' should be"),
        ({**_GOOD, "version": 2}, "version 2; this program reads version 1"),
        ({**_GOOD, "version": None}, "version None"),
        ({**_GOOD, "words": "ab"}, "'words', a list of strings"),
        ({**_GOOD, "words": ["a", 1]}, "'words', a list of strings"),
        ({**_GOOD, "lowercase": 0}, "'lowercase'"),
        ({**_GOOD, "words": ["a", "a"]}, "lists a word twice"),
        ({**_GOOD, "words": ["<s>"]}, "cannot be a word"),
        ({**_GOOD, "words": ["a b"]}, "cannot be a word"),
        ({**_GOOD, "words": [""]}, "cannot be a word"),
        ({**_GOOD, "words": ["a\nb"]}, "cannot be a word"),
        ({**_GOOD, "words": ["a\0b"]}, "cannot be a word"),
        ({**_GOOD, "words": ["a\rb"]}, "cannot be a word"),
        ({**_GOOD, "words": [" a"]}, "cannot be a word"),
        ({**_GOOD, "words": ["a b" * 9999]}, "cannot be a word"),
        ({**_GOOD, "words": ["a\ud800"]}, "half a character"),
        ({**_GOOD, "words": None}, "'words', a list of strings"),
        ({**_GOOD, "version": float("inf")}, "version inf"),
        (b'{"version": ' + b"9" * 5000 + b"}", "not JSON"),
        ({**_GOOD, "sha256": "0" * 64}, "not as it was written"),
        ({**_GOOD, "sha256": None}, "not as it was written"),
    ],
)
def test_broken_word_tokenizer_says_why(tmp_path: Path, content: bytes | dict[str, object], message: str) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        load_tokenizer(tmp_path)
    assert len(str(error.value)) < 500 and str(error.value).isprintable()


def test_the_unbroken_form_of_those_loads(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(_GOOD))
    assert load_tokenizer(tmp_path).encode("b a") == [5, 4]


@pytest.mark.parametrize("cut", [0, 10, 300], ids=["empty", "stub", "truncated"])
def test_broken_sentencepiece_model_says_so(tmp_path: Path, cut: int, capfd: pytest.CaptureFixture[str]) -> None:
    PIECES.save(tmp_path)
    path = tmp_path / "spm.model"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"spm\.model is broken"):
        load_tokenizer(tmp_path)
    assert capfd.readouterr().out == ""


@of_each_kind
def test_every_damage_is_seen_or_without_effect(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    path, draw = tmp_path / tokenizer.file, random.Random(1)
    content, n_seen = path.read_bytes(), 0
    for _ in range(300):
        damaged, at, bit = bytearray(content), draw.randrange(len(content)), draw.randrange(8)
        kind = draw.choice(["flip", "cut", "zeros", "twice"])
        if kind == "flip":
            damaged[at] ^= 1 << bit
        elif kind == "cut":
            del damaged[at:]
        elif kind == "zeros":
            damaged[at : at + 16] = bytes(16)
        else:
            damaged[at:at] = damaged[at : at + 16]
        path.write_bytes(damaged)
        try:
            assert load_tokenizer(tmp_path).fingerprint() == tokenizer.fingerprint()
        except InputError as error:
            n_seen += 1
            assert "is broken" in str(error) and str(error).isprintable()
    assert n_seen > 250  # the others between two values


@pytest.mark.parametrize("byte", range(10, 330, 8))
def test_a_damaged_model_of_an_earlier_run_is_no_traceback(tmp_path: Path, byte: int) -> None:
    """It holds no digest of its own; the weights of its run have one of it."""
    damaged = bytearray(_of_version_1(lowercase=False))
    damaged[byte] ^= 0x80
    (tmp_path / "spm.model").write_bytes(damaged)
    with suppress(InputError):
        load_tokenizer(tmp_path)


def test_foreign_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(InputError, match="as ids 0 to 3"):
        load_tokenizer(tmp_path)


def test_no_tokenizer_and_two_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    PIECES.save(tmp_path)
    WordTokenizer.train(SENTENCES).save(tmp_path)
    with pytest.raises(InputError, match="one tokenizer"):
        load_tokenizer(tmp_path)


def test_saved_vocabulary_is_versioned_json_in_the_order_of_the_ids(tmp_path: Path) -> None:
    WordTokenizer.train(["b a b ï ï ï", "a b"]).save(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert (stored["version"], stored["lowercase"], stored["words"]) == (1, False, ["b", "ï", "a"])


@of_each_kind
def test_encode_many_is_encode_with_end_of_sentence(tokenizer: Tokenizer) -> None:
    text = [*SENTENCES, "", "zzz"]
    tokens, offsets = tokenizer.encode_many(iter(text))
    assert tokens.dtype == np.int32 and offsets.dtype == np.int64
    assert offsets[0] == 0 and offsets[-1] == len(tokens) and len(offsets) == len(text) + 1
    for i, sentence in enumerate(text):
        assert tokens[offsets[i] : offsets[i + 1]].tolist() == [*tokenizer.encode(sentence), 3]


def test_encode_many_of_nothing() -> None:
    tokens, offsets = PIECES.encode_many([])
    assert tokens.shape == (0,) and offsets.tolist() == [0]


def _counted(learn: Callable[[], Tokenizer]) -> tuple[Callable[[], Tokenizer], list[int]]:
    calls: list[int] = []

    def counting() -> Tokenizer:
        calls.append(1)
        return learn()

    return counting, calls


@pytest.mark.parametrize("kind", ["word", "sentencepiece"])
def test_a_tokenizer_is_learned_once(split: Split, kind: str) -> None:
    def learn_anew() -> Tokenizer:
        if kind == "word":
            return WordTokenizer.train(split.sentences(), 9, lowercase=True)
        return SentencePieceTokenizer.train(split.sentences(), 20)

    learn, calls = _counted(learn_anew)
    first, second = (learn_tokenizer(split, kind, [9, True], learn) for _ in range(2))
    assert calls == [1]
    assert type(second) is type(first)
    assert second.fingerprint() == first.fingerprint()
    assert second.notices == first.notices == ()


def test_a_tokenizer_is_of_its_text_kind_and_settings(split: Split, tmp_path: Path) -> None:
    learn, calls = _counted(lambda: WORDS)
    other = find_corpus(str(write_text_corpus(tmp_path / "other", n_train=50))).splits["train"]
    for text in (split, other):
        for kind in ("word", "another"):
            for asked in ([None, False], [None, True]):
                learn_tokenizer(text, kind, asked, learn)
    assert len(calls) == 8


def test_a_damaged_tokenizer_is_learned_again(split: Split, cache: Path) -> None:
    learn, calls = _counted(lambda: WORDS)
    for expected in (1, 2, 2):
        assert learn_tokenizer(split, "word", None, learn).fingerprint() == WORDS.fingerprint()
        assert len(calls) == expected
        if expected == 1:
            (entry,) = entries(cache)
            (cache / entry / "tokenizer.json").write_text("{")


def test_a_tokenizer_with_something_to_say_says_it_each_time(split: Split) -> None:
    said = WordTokenizer(["the"])
    said.notices = ("smaller than asked for",)
    for _ in range(2):
        assert learn_tokenizer(split, "word", None, lambda: said).notices == said.notices


def test_no_tokenizer_is_no_entry(split: Split, cache: Path) -> None:
    def fail() -> Tokenizer:
        raise InputError("too small")

    with pytest.raises(InputError, match="too small"):
        learn_tokenizer(split, "word", None, fail)
    assert not cache.exists()
