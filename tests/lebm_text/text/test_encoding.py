"""Ids in flat arrays: the files hold what memory would, nothing more is held while they are written, damage is seen."""

from __future__ import annotations

import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.store import resumable_directory
from lebm_text.text import encoding, reading
from lebm_text.text.corpora import find_corpus
from lebm_text.text.encoding import EncodedSentences, encode_split, map_encoded, pack, write_encoded
from lebm_text.text.reading import Split
from lebm_text.text.tokenizers import WordTokenizer, learn_tokenizer

from ..damage import flips
from ..toy import write_text_corpus
from .conftest import entries

EOS = 3
WORDS = WordTokenizer(["the", "a", "cat", "dog"])
Sentences = Sequence["list[int] | None"]


def from_list(sentences: Sentences) -> Callable[[int], Sentences]:
    """What `write_encoded` reads from."""
    return lambda start: sentences[start:]


@given(sentences=st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=20), buffered=st.integers(1, 30))
def test_files_hold_what_is_packed(
    sentences: list[list[int]], buffered: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BUFFERED", buffered)
        write_encoded(directory, from_list(sentences), EOS, vocab_size=100)
    found, wanted = map_encoded(directory), pack(sentences, EOS)
    assert found is not None
    assert found.tokens.tolist() == wanted.tokens.tolist()
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert wanted.tokens.tolist() == [i for ids in sentences for i in (*ids, EOS)]


@pytest.mark.parametrize(("vocab_size", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_ids_take_as_many_bytes_as_the_vocabulary_needs(tmp_path: Path, vocab_size: int, width: int) -> None:
    write_encoded(tmp_path, from_list([[5, vocab_size - 1], [6]]), EOS, vocab_size)
    found = map_encoded(tmp_path)
    assert found is not None
    assert found.tokens.tolist() == [5, vocab_size - 1, EOS, 6, EOS]
    assert (tmp_path / "tokens.bin").stat().st_size == 5 * width


def test_mapped_arrays_are_the_files_and_cannot_be_written(tmp_path: Path) -> None:
    write_encoded(tmp_path, from_list([[5, 6]]), EOS, 10)
    found = map_encoded(tmp_path)
    assert found is not None
    for array in found:
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_BUFFERED", 1000)

    def peak(n: int) -> int:
        def sentences() -> Iterator[list[int]]:
            return ([7] * 9 for _ in range(n))

        tracemalloc.start()
        write_encoded(tmp_path, lambda _: sentences(), EOS, 10)
        found = map_encoded(tmp_path)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found is not None
        assert len(found.tokens) == 10 * n
        return most

    peak(300)  # what is allocated once
    assert peak(20_000) < peak(8_000) + 10_000 < 400_000  # bytes of 200,000 ids


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "longer"])
def test_what_is_not_all_there_is_not_mapped(tmp_path: Path, name: str, damage: str) -> None:
    write_encoded(tmp_path, from_list([[5, 6], [7]]), EOS, 10)
    assert map_encoded(tmp_path) is not None
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage == "shorter" else content + b"000")
    assert map_encoded(tmp_path) is None


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
def test_no_bit_can_be_flipped(tmp_path: Path, name: str) -> None:
    """Of the meta data least of all: that of `<u2` makes `>u2`, other ids in as many bytes."""
    write_encoded(tmp_path, from_list([[5, 6], [7]]), EOS, 10)
    wanted, content = _listed(pack([[5, 6], [7]], EOS)), (tmp_path / name).read_bytes()
    for damaged in flips(content):
        (tmp_path / name).write_bytes(damaged)
        found = map_encoded(tmp_path)
        assert found is None or (name == "meta.json" and _listed(found) == wanted)  # white space between the values


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "position.json"])
def test_what_was_damaged_since_an_interruption_is_not_gone_on_with(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_SYNCED", 4)
    sentences = [[5, 6], [7, 8, 9], [5], [6]]

    def broken(start: int) -> Iterator[list[int]]:
        yield from sentences[start:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_encoded(tmp_path, broken, EOS, 10, "text")
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[len(damaged) // 2 if name == "position.json" else 0] ^= 1
    (tmp_path / name).write_bytes(damaged)
    write_encoded(tmp_path, lambda start: sentences[start:], EOS, 10, "text")
    found = map_encoded(tmp_path)
    assert found is not None and _listed(found) == _listed(pack(sentences, EOS))


def test_offsets_of_other_tokens_are_not_mapped(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_encoded(tmp_path / "one", from_list([[5, 6], [7]]), EOS, 10)
    write_encoded(tmp_path / "two", from_list([[5, 6], [7, 8]]), EOS, 10)
    (tmp_path / "two" / "offsets.bin").replace(tmp_path / "one" / "offsets.bin")
    assert map_encoded(tmp_path / "one") is None


def test_nothing_is_read_again_that_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_SYNCED", 4)

    def broken(start: int) -> Iterator[list[int] | None]:
        yield from ([5, 6], None, [7, 8, 9], None, [5])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_encoded(tmp_path, broken, EOS, 10, "text")
    asked = []

    def rest(start: int) -> Sentences:
        asked.append(start)
        return [[6]]

    write_encoded(tmp_path, rest, EOS, 10, "text")
    found = map_encoded(tmp_path)
    assert found is not None
    assert (asked, found.tokens.tolist()) == ([3], [5, 6, EOS, 7, 8, 9, EOS, 6, EOS])


@settings(max_examples=30)
@given(
    sentences=st.lists(st.none() | st.lists(st.integers(0, 99), max_size=4), min_size=1, max_size=25),
    breaks=st.lists(st.integers(0, 30), max_size=3),
    synced=st.integers(1, 12),
)
def test_an_interrupted_encoding_goes_on(
    sentences: list[list[int] | None], breaks: list[int], synced: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From the last position that reached the disk, wherever it is broken off, sentences left out among them."""
    directory, asked = tmp_path_factory.mktemp("files"), []

    def breaking(at: int) -> Callable[[int], Iterator[list[int] | None]]:
        def encode(start: int) -> Iterator[list[int] | None]:
            asked.append(start)
            for number, ids in enumerate(sentences[start:], start):
                if number == at:
                    raise KeyboardInterrupt
                yield ids

        return encode

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_SYNCED", synced)
        patch.setattr(encoding, "_BUFFERED", 5)
        for at in breaks:
            with suppress(KeyboardInterrupt):  # unless more than that was done before
                write_encoded(directory, breaking(at), EOS, 100, "text")
        write_encoded(directory, breaking(-1), EOS, 100, "text")
    found, wanted = map_encoded(directory), pack([ids for ids in sentences if ids is not None], EOS)
    assert found is not None
    assert (found.tokens.tolist(), found.offsets.tolist()) == (wanted.tokens.tolist(), wanted.offsets.tolist())
    assert asked == sorted(asked)


def test_another_text_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_SYNCED", 1)
    write_encoded(tmp_path, from_list([[5, 6], [7]]), EOS, 10, "one")
    write_encoded(tmp_path, from_list([[8]]), EOS, 10, "another")
    found = map_encoded(tmp_path)
    assert found is not None and found.tokens.tolist() == [8, EOS]


class Mute(WordTokenizer):
    """Encodes nothing: a tokenizer whose work must have been done before."""

    def encode(self, sentence: str) -> list[int]:
        raise AssertionError(f"{sentence!r} is encoded again")


def _listed(encoded: EncodedSentences) -> tuple[list[int], list[int]]:
    return encoded.tokens.tolist(), encoded.offsets.tolist()


def test_ids_of_a_long_text_are_mapped_and_those_that_a_short_one_has(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped, notices = encode_split(split, WORDS, 5)
    assert notices == ()
    assert isinstance(mapped.tokens.base, np.memmap)
    monkeypatch.setattr(reading, "KEPT_FROM", 1 << 20)
    held, notices = encode_split(split, WORDS, 5)
    assert notices == ()
    assert held.tokens.base is None
    sentences = [ids for ids in map(WORDS.encode, split.sentences()) if len(ids) <= 5]
    assert 0 < len(sentences) < split.n_sentences
    assert _listed(mapped) == _listed(held) == ([i for ids in sentences for i in (*ids, 3)], _offsets(sentences))


def _offsets(sentences: list[list[int]]) -> list[int]:
    return [0, *np.cumsum([len(ids) + 1 for ids in sentences]).tolist()]


def test_a_short_text_leaves_nothing(split: Split, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT_FROM", split.path.stat().st_size + 1)
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
    assert len(entries(cache)) == 8


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "meta.json"])
def test_a_damaged_entry_is_made_again(split: Split, cache: Path, name: str) -> None:
    wanted = _listed(encode_split(split, WORDS, 5)[0])
    (entry,) = entries(cache)
    (cache / entry / name).write_bytes(b"{}")
    assert _listed(encode_split(split, WORDS, 5)[0]) == wanted
    assert _listed(encode_split(split, Mute(["the", "a", "cat", "dog"]), 5)[0]) == wanted


def test_what_is_mapped_outlives_its_entry(split: Split, cache: Path) -> None:
    """Another process may replace it, or the user may empty the cache."""
    mapped, _ = encode_split(split, WORDS, 5)
    wanted = _listed(mapped)
    (entry,) = entries(cache)
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
    (entry,) = entries(cache)
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
    assert entries(cache) == []


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
    assert entries(cache) == []


def test_two_at_once_both_succeed(split: Split) -> None:
    together = threading.Barrier(2)
    found: list[EncodedSentences] = []

    class Waiting(WordTokenizer):
        waited = False

        def encode(self, sentence: str) -> list[int]:
            if not self.waited:
                together.wait(60)
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
