"""What the cache keeps of a text: the same as computed anew, never of another text, and nothing depends on it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lebm_text.errors import InputError
from lebm_text.store import resumable_directory
from lebm_text.text import derived, encoding
from lebm_text.text.corpora import Split, find_corpus
from lebm_text.text.derived import encode_split, learn_tokenizer
from lebm_text.text.encoding import EncodedSentences
from lebm_text.text.tokenizers import SentencePieceTokenizer, Tokenizer, WordTokenizer

from ..toy import write_text_corpus

WORDS = WordTokenizer(["the", "a", "cat", "dog"])


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    """A training text, long enough to leave something in the cache."""
    monkeypatch.setattr(derived, "KEPT_FROM", 1)
    return find_corpus(str(write_text_corpus(tmp_path / "toy"))).splits["train"]


class Mute(WordTokenizer):
    """Encodes nothing: a tokenizer whose work must have been done before."""

    def encode(self, sentence: str) -> list[int]:
        raise AssertionError(f"{sentence!r} is encoded again")


def _listed(encoded: EncodedSentences) -> tuple[list[int], list[int]]:
    return encoded.tokens.tolist(), encoded.offsets.tolist()


def _entries(cache: Path) -> list[Path]:
    return sorted(path.relative_to(cache) for path in cache.rglob("*") if path.is_dir() and path.parent != cache)


def test_ids_of_a_long_text_are_mapped_and_those_that_a_short_one_has(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped, notices = encode_split(split, WORDS, 5)
    assert notices == ()
    assert isinstance(mapped.tokens.base, np.memmap)
    monkeypatch.setattr(derived, "KEPT_FROM", 1 << 20)
    held, notices = encode_split(split, WORDS, 5)
    assert notices == ()
    assert held.tokens.base is None
    sentences = [ids for ids in map(WORDS.encode, split.sentences()) if len(ids) <= 5]
    assert 0 < len(sentences) < split.n_sentences
    assert _listed(mapped) == _listed(held) == ([i for ids in sentences for i in (*ids, 3)], _offsets(sentences))


def _offsets(sentences: list[list[int]]) -> list[int]:
    return [0, *np.cumsum([len(ids) + 1 for ids in sentences]).tolist()]


def test_a_short_text_leaves_nothing(split: Split, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "KEPT_FROM", split.path.stat().st_size + 1)
    encode_split(split, WORDS, 5)
    learn_tokenizer(split, "word", None, lambda: WORDS)
    assert not cache.exists()


def test_a_text_is_encoded_once(split: Split) -> None:
    first, _ = encode_split(split, WORDS, 5)
    again, _ = encode_split(split, Mute(["the", "a", "cat", "dog"]), 5)
    assert _listed(again) == _listed(first)


def test_another_text_tokenizer_or_length_is_another_entry(split: Split, cache: Path, tmp_path: Path) -> None:
    path = write_text_corpus(tmp_path / "other", n_train=50)
    other = find_corpus(str(path)).splits["train"]
    found = [
        _listed(encode_split(text, tokenizer, max_length)[0])
        for text in (split, other)
        for tokenizer in (WORDS, WordTokenizer(["the", "a", "dog", "cat"]))
        for max_length in (4, 5)
    ]
    assert len({str(one) for one in found}) == 8
    assert len(_entries(cache)) == 8


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
def test_a_damaged_entry_is_made_again(split: Split, cache: Path, name: str) -> None:
    wanted = _listed(encode_split(split, WORDS, 5)[0])
    (entry,) = _entries(cache)
    (cache / entry / name).write_bytes(b"{}")
    assert _listed(encode_split(split, WORDS, 5)[0]) == wanted
    assert _listed(encode_split(split, Mute(["the", "a", "cat", "dog"]), 5)[0]) == wanted


def test_what_is_mapped_outlives_its_entry(split: Split, cache: Path) -> None:
    """Another process may replace it, or the user may empty the cache."""
    mapped, _ = encode_split(split, WORDS, 5)
    wanted = _listed(mapped)
    (entry,) = _entries(cache)
    for path in (cache / entry).iterdir():
        path.unlink()
    assert _listed(mapped) == wanted


def test_without_a_cache_the_ids_are_held_in_memory_and_that_is_said(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _listed(encode_split(split, WORDS, 5)[0])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "file"))
    held, (notice,) = encode_split(split, WORDS, 5)
    assert _listed(held) == wanted
    assert "held in memory" in notice
    assert "LEBM_TEXT_CACHE" in notice
    assert learn_tokenizer(split, "word", None, lambda: WORDS) is WORDS


class Interrupted(WordTokenizer):
    """Encodes nine sentences."""

    n = 0

    def encode(self, sentence: str) -> list[int]:
        self.n += 1
        if self.n == 10:
            raise KeyboardInterrupt
        return super().encode(sentence)


def test_interrupted_it_goes_on(split: Split, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _listed(encode_split(split, WORDS, 5)[0])
    shutil.rmtree(cache)
    monkeypatch.setattr(encoding, "_SYNCED", 1)
    words = ["the", "a", "cat", "dog"]
    with pytest.raises(KeyboardInterrupt):
        encode_split(split, Interrupted(words), 5)
    rest = Interrupted(words)
    rest.n = 10
    assert _listed(encode_split(split, rest, 5)[0]) == wanted
    assert rest.n - 10 < split.n_sentences - 5  # one or another of the nine was too long to be written


def test_what_another_works_on_is_left_alone(split: Split, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _listed(encode_split(split, WORDS, 5)[0])
    (entry,) = _entries(cache)
    shutil.rmtree(cache / entry)
    with resumable_directory(cache / entry) as held:
        (held / "tokens.bin").write_bytes(b"half a file")
        assert _listed(encode_split(split, WORDS, 5)[0]) == wanted
        assert (held / "tokens.bin").read_bytes() == b"half a file"


def test_a_failed_encoding_leaves_nothing(split: Split, cache: Path) -> None:
    class Broken(WordTokenizer):
        def encode(self, sentence: str) -> list[int]:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        encode_split(split, Broken(["the"]), 5)
    assert _entries(cache) == []


def test_a_text_that_changes_while_it_is_read_is_not_filed_under_its_old_hash(split: Split, cache: Path) -> None:
    class Meddling(WordTokenizer):
        def encode(self, sentence: str) -> list[int]:
            with split.path.open("a") as stream:
                stream.write("the cat\n" if not (split.path.parent / "done").exists() else "")
            (split.path.parent / "done").touch()
            return super().encode(sentence)

    with pytest.raises(InputError, match="was changed while it was read"):
        encode_split(split, Meddling(["the"]), 5)
    with pytest.raises(InputError, match="was changed while it was read"):
        learn_tokenizer(split, "word", None, lambda: WORDS)
    assert _entries(cache) == []


def test_two_at_once_both_succeed(split: Split) -> None:
    together = threading.Barrier(2)
    found: list[EncodedSentences] = []

    class Waiting(WordTokenizer):
        waited = False

        def encode(self, sentence: str) -> list[int]:
            if not self.waited:
                together.wait(10)
                self.waited = True
            return super().encode(sentence)

    def run() -> None:
        found.append(encode_split(split, Waiting(["the", "a", "cat", "dog"]), 5)[0])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert _listed(found[0]) == _listed(found[1]) == _listed(encode_split(split, WORDS, 5)[0])


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
            for settings in ([None, False], [None, True]):
                learn_tokenizer(text, kind, settings, learn)
    assert len(calls) == 8


def test_a_damaged_tokenizer_is_learned_again(split: Split, cache: Path) -> None:
    learn, calls = _counted(lambda: WORDS)
    for expected in (1, 2, 2):
        assert learn_tokenizer(split, "word", None, learn).fingerprint() == WORDS.fingerprint()
        assert len(calls) == expected
        if expected == 1:
            (entry,) = _entries(cache)
            (cache / entry / "tokenizer.json").write_text("{")


def test_a_tokenizer_with_something_to_say_says_it_each_time(split: Split) -> None:
    said = WordTokenizer(["the"], notices=("smaller than asked for",))
    for _ in range(2):
        assert learn_tokenizer(split, "word", None, lambda: said).notices == said.notices


def test_no_tokenizer_is_no_entry(split: Split, cache: Path) -> None:
    def fail() -> Tokenizer:
        raise InputError("too small")

    with pytest.raises(InputError, match="too small"):
        learn_tokenizer(split, "word", None, fail)
    assert not cache.exists()


@pytest.fixture(autouse=True)
def _no_scratch_is_left(cache: Path) -> Iterator[None]:
    yield
    assert list(cache.rglob(".*")) == []
