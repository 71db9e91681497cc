"""One text in every place that a corpus may lie in: the same sentences, the same hash, and what is wrong is said."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from lebm_text.errors import InputError
from lebm_text.text.corpora import find_corpus
from lebm_text.text.sources import raw_lines, split_path, stored_bytes

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
    assert stored_bytes(other.path) > 0


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
