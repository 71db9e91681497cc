"""Ids in flat arrays: the files hold what memory would, nothing more is held while they are written, damage is seen."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.text import encoding
from lebm_text.text.encoding import map_encoded, pack, write_encoded

EOS = 3
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
    assert peak(20_000) < peak(400) + 10_000 < 400_000  # bytes of 200,000 ids


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
