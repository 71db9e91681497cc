"""One text in every place that a corpus may lie in: the same sentences, the same hash, and what is wrong is said."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from lebm_text.errors import InputError
from lebm_text.text import sources
from lebm_text.text.corpora import find_corpus
from lebm_text.text.reading import read_text
from lebm_text.text.sources import STDIN, as_file, ending_of, raw_lines, split_path, stored_bytes

LINES = ["the cat sees", "", "a dog", "zwölf Käse", "the end"]
TEXT = "".join(f"{line}\n" for line in LINES)


def _text(directory: Path, split: str) -> None:
    (directory / f"{split}.txt").write_text(TEXT, encoding="utf-8")


def _gzip(directory: Path, split: str) -> None:
    (directory / f"{split}.txt.gz").write_bytes(gzip.compress(TEXT.encode()))


def _parquet(directory: Path, split: str) -> None:
    rows = ["the cat sees\n\na dog", "zwölf Käse", "the end"]  # a row of three lines
    table = pyarrow.table({"label": [1, 2, 3], "sentence": rows, "other": ["x", "y", "z"]})
    pyarrow.parquet.write_table(table, directory / f"{split}.parquet", row_group_size=2)


def _saved(directory: Path, split: str) -> None:
    """As `datasets` saves a split, in two files; an empty row may be none at all."""
    place = directory / (split if split != "valid" else "validation")
    place.mkdir()
    (place / "state.json").write_text("{}")
    for part, rows in enumerate((["the cat sees", None], ["a dog", "zwölf Käse", "the end"])):
        table = pyarrow.table({"only": pyarrow.array(rows, pyarrow.large_string())})
        with pyarrow.ipc.new_stream(place / f"data-0000{part}-of-00002.arrow", table.schema) as stream:
            stream.write_table(table)


def _feather(directory: Path, split: str) -> None:
    """Arrow's file format, where `datasets` writes its stream format."""
    (directory / split).mkdir()
    table = pyarrow.table({"text": LINES, "n": list(range(len(LINES)))})
    with pyarrow.ipc.new_file(directory / split / "part.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)


@pytest.mark.parametrize("write", [_text, _gzip, _parquet, _saved, _feather])
def test_all_places_hold_the_same_text(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    for split in ("train", "valid", "test"):
        _text(tmp_path / "plain", split)
        write(tmp_path / "other", split)
    plain, other = (find_corpus(str(tmp_path / name)).splits["train"] for name in ("plain", "other"))
    assert list(other.sentences()) == [line for line in LINES if line]
    assert (other.sha256, other.n_sentences, other.n_words) == (plain.sha256, 4, plain.n_words)
    stored = [file for file in other.path.rglob("*") if file.suffix == ".arrow"] or [other.path]
    assert stored_bytes(other.path) == sum(len(file.read_bytes()) for file in stored)


def test_datasets_saves_what_is_read(tmp_path: Path) -> None:
    import datasets  # type: ignore[import-untyped]

    saved = datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": LINES}) for name in ("train", "test")})
    saved.save_to_disk(tmp_path / "saved")
    path = split_path(tmp_path / "saved", "train")
    assert path is not None and b"".join(raw_lines(path)).decode() == TEXT
    assert split_path(tmp_path / "saved", "valid") is None
    loaded = datasets.load_from_disk(tmp_path / "saved")["train"]
    loaded.map(lambda row: {"text": row["text"].upper()})
    assert len(list(path.glob("*.arrow"))) == 2  # what was made of the rows is kept beside them, and no part of them
    assert b"".join(raw_lines(path)).decode() == TEXT


def test_of_several_places_the_plainest_is_taken(tmp_path: Path) -> None:
    for name in ("validation.txt", "valid.parquet", "valid.txt.gz", "valid.txt"):
        (tmp_path / name).touch()
        assert split_path(tmp_path, "valid") == tmp_path / name


def test_the_ending_that_counts_is_that_of_what_is_packed_in_any_case() -> None:
    names = ("a.csv", "a.csv.gz", "A.CSV", "a.b.Jsonl", "a.gz", "a")
    assert [ending_of(Path(name)) for name in names] == [".csv", ".csv", ".csv", ".jsonl", "", ""]


def test_damaged_places_are_refused(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        _text(tmp_path, split)
    (tmp_path / "train.txt").unlink()
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(TEXT.encode() * 50)[:-20])
    with pytest.raises(InputError, match=r"train\.txt\.gz.*damaged"):
        find_corpus(str(tmp_path))
    (tmp_path / "train.txt.gz").rename(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet.*damaged"):
        find_corpus(str(tmp_path))
    pyarrow.parquet.write_table(pyarrow.table({"a": ["x"], "b": ["y"], "n": [1]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="columns of strings: a, b"):
        find_corpus(str(tmp_path))


@contextmanager
def _piped(path: Path, data: bytes) -> Iterator[Path]:
    """A pipe of that name, into which `data` go once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    yield path
    writer.join()


BIG = "".join(f"{line} {i}\n" for i, line in enumerate(LINES * 40_000)).encode()  # more than any buffer holds


@pytest.mark.parametrize(
    "data",
    [BIG, gzip.compress(BIG, 1), gzip.compress(BIG[:99], 1) + gzip.compress(BIG[99:], 1)],
    ids=["plain", "packed", "packed in two parts"],
)
def test_a_pipe_is_read_once_from_its_first_byte(data: bytes, tmp_path: Path) -> None:
    with _piped(tmp_path / "pipe", data) as path:
        text = read_text(path)
    assert text.sha256 == hashlib.sha256(BIG).hexdigest()
    assert len(text.lines) == 200_000


def test_a_descriptor_is_read_from_its_first_byte() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        stream.write(TEXT.encode())
    text = read_text(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    assert (text.lines, text.sha256) == (LINES, hashlib.sha256(TEXT.encode()).hexdigest())


@pytest.mark.parametrize("data", [TEXT.encode(), gzip.compress(TEXT.encode())], ids=["plain", "packed"])
def test_standard_input(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_text(STDIN).lines == LINES
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff\n")))
    with pytest.raises(InputError, match="standard input, line 2: not UTF-8"):
        read_text(STDIN)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        read_text(STDIN)


def test_standard_input_begins_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("first\nsecond\n")
    with (tmp_path / "text").open("rb") as file, io.TextIOWrapper(file) as stream:
        file.readline()
        monkeypatch.setattr(sys, "stdin", stream)
        assert read_text(STDIN).lines == ["second"]
    with (tmp_path / "text").open("rb") as file, io.TextIOWrapper(file) as stream:
        file.readline()
        monkeypatch.setattr(sys, "stdin", stream)
        with as_file(STDIN) as (found, sha256):
            assert (found.read_bytes(), sha256) == (b"second\n", hashlib.sha256(b"second\n").hexdigest())


def test_names_that_are_not_utf8_and_links(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt.gz")
    path.write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "link").symlink_to(path)
    assert read_text(path).lines == read_text(tmp_path / "link").lines == LINES
    path.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(path)


def test_what_is_packed_is_seen_by_its_bytes(tmp_path: Path) -> None:
    data = TEXT.encode()
    (tmp_path / "text.txt").write_bytes(gzip.compress(data))
    assert read_text(tmp_path / "text.txt").lines == LINES
    (tmp_path / "plain.gz").write_bytes(data)
    assert read_text(tmp_path / "plain.gz").lines == LINES
    others = {"zip": b"PK\x03\x04" + data, "zstd": b"\x28\xb5\x2f\xfd" + data, "bzip2": bz2.compress(data)}
    for name, packed in {**others, "xz": lzma.compress(data), "gzip twice": gzip.compress(gzip.compress(data))}.items():
        (tmp_path / "text.txt").write_bytes(packed)
        with pytest.raises(InputError, match=f"packed with {name}; unpack it first"):
            read_text(tmp_path / "text.txt")


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LONGEST_LINE", 1 << 20)
    with pytest.raises(InputError, match="/dev/zero has a line of over 1,048,576 bytes"):
        read_text(Path("/dev/zero"))


class _Terminal(io.RawIOBase):
    """Gives a line at a time, and after its end, which is an empty one, whatever is typed next."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = iter(answers)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        answer = next(self._answers)
        buffer[: len(answer)] = answer
        return len(answer)


@pytest.mark.parametrize("typed", [["one", "two"], ["a longer first line", "two"], ["short"]])
def test_the_end_of_a_terminal_is_its_end(typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: io.RawIOBase = _Terminal(*(f"{line}\n".encode() for line in typed), b"", b"not asked for\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(terminal)))
    assert read_text(STDIN).lines == typed


def test_a_file_for_programs_that_open_it_themselves(tmp_path: Path) -> None:
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    (tmp_path / "plain").write_bytes(TEXT.encode())
    with as_file(tmp_path / "plain") as (found, sha256):
        assert (found, sha256) == (tmp_path / "plain", digest)
    (tmp_path / "packed").write_bytes(gzip.compress(TEXT.encode()))
    with as_file(tmp_path / "packed") as (found, sha256):
        assert (found.read_text("utf-8"), sha256) == (TEXT, digest)
    assert not found.exists()
    with _piped(tmp_path / "pipe", TEXT.encode()) as path, as_file(path) as (found, sha256):
        assert (found.read_text("utf-8"), sha256) == (TEXT, digest)


def test_a_stream_that_was_cut_between_two_batches_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path, "train")
    path = tmp_path / "train" / "data-00000-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"data-00000-of-00002\.arrow: damaged \(it ends in the middle\)"):
        list(raw_lines(tmp_path / "train"))
