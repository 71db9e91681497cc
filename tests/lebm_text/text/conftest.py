"""A cache of the test's own, small corpora on disk, and a registry entry to match one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lebm_text.text import corpora, reading
from lebm_text.text.corpora import find_corpus
from lebm_text.text.reading import Split
from lebm_text.text.registry import CorpusEntry, Expected

from ..toy import write_text_corpus

TEXTS: Mapping[str, bytes] = {
    "train": b" a b c \n a b \n d e \n",
    "valid": b" a b \n c \n",
    "test": b" c c c \n",
}
COUNTS = {"train": (3, 7), "valid": (2, 3), "test": (1, 3)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's cache and working directory, both empty and below tmp_path."""
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield tmp_path / "cache"
    assert list((tmp_path / "cache").rglob(".*")) == []  # no scratch is left


@pytest.fixture
def texts() -> dict[str, bytes]:
    """The three files of the corpus `toy`, by split."""
    return dict(TEXTS)


def write_corpus(directory: Path, texts: Mapping[str, bytes] = TEXTS) -> Path:
    """The files train.txt, valid.txt and test.txt in a new directory."""
    directory.mkdir(parents=True)
    for split, data in texts.items():
        (directory / f"{split}.txt").write_bytes(data)
    return directory


def expected() -> dict[str, Expected]:
    """What a registry would say of `TEXTS`."""
    return {split: Expected(*COUNTS[split], hashlib.sha256(data).hexdigest()) for split, data in TEXTS.items()}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, CorpusEntry]:
    """All that is registered: the corpus `toy`, which cannot be fetched, and `kjv`, made from packages."""
    entries = {
        "toy": CorpusEntry("toy", "A toy", "none", expected()),
        "kjv": CorpusEntry("kjv", "A book", "none", {split: Expected() for split in TEXTS}, package=True),
    }
    monkeypatch.setattr(corpora, "REGISTRY", entries)
    return entries


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Split:
    """A training text, long enough to leave something in the cache."""
    monkeypatch.setattr(reading, "KEPT_FROM", 1)
    return find_corpus(str(write_text_corpus(tmp_path / "toy"))).splits["train"]


def entries(cache: Path) -> list[Path]:
    """The directories of cached results."""
    return sorted(path.relative_to(cache) for path in cache.rglob("*") if path.is_dir() and path.parent != cache)
