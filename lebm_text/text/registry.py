"""The named corpora: the expected content of their files and where to get them.

`sha256` and counts are those of the prepared files `train.txt`, `valid.txt` and `test.txt`. Where a hash is
known, a fetched corpus must reproduce it; where it is not (the text passes through our own tokenisation and
there is no trusted copy to compare with), the row counts of the source and the counts listed here must match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .reading import Split

__all__ = ["REGISTRY", "SPLITS", "CorpusEntry", "Expected", "Source"]

T = TypeVar("T")

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Expected:
    """Known properties of one prepared split; None where unknown."""

    n_sentences: int | None = None
    n_words: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """Files that `datasets.load_dataset(builder, data_files=files)` reads, and how their rows are processed.

    The steps, in this order: the rows of `files[split]` in order, `columns` one after the other within a
    row; `tokenise` (see `fetching.tokenise`); `unique` leaves out a sentence seen before, in the test
    split first, then valid, then train; `valid_every` k moves every k-th training sentence to valid;
    `at_most` n keeps n sentences at even distances.
    """

    builder: str  # parquet | text | csv
    files: Mapping[str, tuple[str, ...]]  # split -> URLs or hf:// paths
    columns: tuple[str, ...] = ("text",)
    n_rows: Mapping[str, int] = field(default_factory=dict)  # split -> rows that the source documents
    tokenise: bool = False
    unique: bool = False
    valid_every: int = 0
    at_most: Mapping[str, int] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Location of the files, for messages: without the last part of the name."""
        return next(iter(self.files.values()))[0].rsplit("/", 1)[0]


@dataclass(frozen=True)
class CorpusEntry:
    """One named corpus. `sources` are tried in order; `package` means it is made from installed packages."""

    name: str
    title: str
    licence: str
    expected: Mapping[str, Expected]
    sources: tuple[Source, ...] = ()
    package: bool = False

    def differences(self, splits: Mapping[str, Split]) -> list[str]:
        """Return how `splits` differ from what is expected, a phrase each; empty if they agree."""
        found = []
        for split in SPLITS:
            want, have = self.expected[split], splits[split]
            counts = ("sentences", want.n_sentences, have.n_sentences), ("words", want.n_words, have.n_words)
            found += [f"{split}.txt has {b} {label} instead of {a}" for label, a, b in counts if a not in (None, b)]
            if want.sha256 is not None and want.sha256 != have.sha256:
                found.append(f"{split}.txt has sha256 {have.sha256[:12]}… instead of {want.sha256[:12]}…")
        return found


def _splits(train: T, valid: T, test: T) -> dict[str, T]:
    return {"train": train, "valid": valid, "test": test}


def _files(pattern: str, train: str, valid: str, test: str) -> dict[str, tuple[str, ...]]:
    """Return split → its files: `pattern` with each of the comma-separated names in place of `{}`."""
    names = _splits(train, valid, test)
    return {split: tuple(map(pattern.format, each.split(","))) for split, each in names.items() if each}


_GITHUB = "https://raw.githubusercontent.com"
_SNLI = "hf://datasets/stanfordnlp/snli@cdb5c3d5eed6ead6e5a341c8e56e669bb666725b/plain_text"
_AGNEWS = "hf://datasets/fancyzhx/ag_news@eb185aade064a813bc0b7f42de02595523103ca4/data"
_YELP = f"{_GITHUB}/shentianxiao/language-style-transfer/master/data/yelp"
_E2E_CSV = f"{_GITHUB}/tuetschek/e2e-dataset/master"
_E2E = "hf://datasets/tuetschek/e2e_nlg@refs%2Fconvert%2Fparquet/default"

_ENTRIES = (
    CorpusEntry(
        "ptb",
        "Penn Treebank, Wall Street Journal, as preprocessed by Mikolov",
        "not redistributable (LDC99T42)",
        _splits(
            Expected(42068, 887521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
            Expected(3370, 70390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
            Expected(3761, 78669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
        ),
        tuple(
            Source("text", _files(f"{_GITHUB}/{owner}/lstm/master/data/ptb.{{}}.txt", "train", "valid", "test"))
            for owner in ("wojzaremba", "tomsercu")
        ),
    ),
    CorpusEntry(
        "snli",
        "SNLI premises and hypotheses, each sentence once",
        "CC BY-SA 4.0",
        _splits(Expected(100_000), Expected(10_000), Expected(10_000)),
        (
            Source(
                "parquet",
                _files(f"{_SNLI}/{{}}-00000-of-00001.parquet", "train", "validation", "test"),
                columns=("premise", "hypothesis"),
                n_rows=_splits(550_152, 10_000, 10_000),
                tokenise=True,
                unique=True,
                at_most=_splits(100_000, 10_000, 10_000),
            ),
        ),
    ),
    CorpusEntry(
        "yelp",
        "Yelp review sentences of at most 15 words (Shen et al. 2017)",
        "Yelp dataset terms (no redistribution)",
        _splits(Expected(100_000), Expected(10_000), Expected(10_000)),
        (
            Source(
                "text",
                _files(f"{_YELP}/sentiment.{{}}", "train.0,train.1", "dev.0,dev.1", "test.0,test.1"),
                n_rows={"valid": 63_483, "test": 126_670},
                at_most=_splits(100_000, 10_000, 10_000),
            ),
        ),
    ),
    CorpusEntry(
        "e2e",
        "E2E NLG challenge, restaurant descriptions",
        "CC BY-SA 4.0",
        _splits(Expected(42_061), Expected(4672), Expected(4693)),
        tuple(
            Source(builder, files, columns=(column,), n_rows=_splits(42_061, 4672, 4693), tokenise=True)
            for builder, column, files in (
                ("parquet", "human_reference", _files(f"{_E2E}/{{}}/0000.parquet", "train", "validation", "test")),
                ("csv", "ref", _files(f"{_E2E_CSV}/{{}}.csv", "trainset", "devset", "testset_w_refs")),
            )
        ),
    ),
    CorpusEntry(
        "agnews",
        "AG News, title and description in one line",
        "non-commercial use",
        _splits(Expected(115_000), Expected(5000), Expected(7600)),
        (
            Source(
                "parquet",
                _files(f"{_AGNEWS}/{{}}-00000-of-00001.parquet", "train", "", "test"),
                n_rows={"train": 120_000, "test": 7600},
                tokenise=True,
                valid_every=24,
            ),
        ),
    ),
    CorpusEntry(
        "kjv",
        "King James Bible, one verse a line",
        "public domain",
        _splits(
            Expected(27992, 821724, "58cce4703d1b0cfe5a1706b3e46c20de7277f783a3ae2d7c25ad45c2d6d81a53"),
            Expected(1555, 45831, "0cfa86ac9798236a4db9e136d020bd375bea2884b0d454e3129cc366209cd58b"),
            Expected(1555, 46112, "11e7d205be37913d525abd91d0f80401bb02eaafc402262de1eb2b1d84cb9ea0"),
        ),
        package=True,
    ),
)

REGISTRY: Mapping[str, CorpusEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name → entry, in the order in which they are listed."""
