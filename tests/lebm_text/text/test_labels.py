"""Labels beside a text: line by line with it, and under one name wherever the text lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.text.corpora import Corpus
from lebm_text.text.labels import Labelled, label_path, labelled_split, positive_label
from lebm_text.text.reading import Split


def _one_text(path: Path) -> Corpus:
    return Corpus("mine", "directory", {"train": Split(path, "", 1, 1)})


def test_lines_belong_together_and_gaps_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one  two\n\nthree\nfour\n")
    (tmp_path / "a.label").write_text("1\n0\n\n very good\n")
    found = labelled_split(_one_text(tmp_path / "a.txt"), "train")
    assert found == [("one two", "1"), ("four", "very good")]


def test_another_number_of_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "a.label").write_text("1\n")
    with pytest.raises(InputError, match="has 1 lines"):
        labelled_split(_one_text(tmp_path / "a.txt"), "train")


def test_labels_of_nothing_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n")
    (tmp_path / "a.label").write_text("\n1\n")
    with pytest.raises(InputError, match=r"a\.label has no label for any sentence of a\.txt$"):
        labelled_split(_one_text(tmp_path / "a.txt"), "train")


@pytest.mark.parametrize("text", ["train.txt", "train.txt.gz", "train.parquet", "train"])
def test_labels_have_one_name_wherever_the_text_lies(text: str) -> None:
    assert label_path(Path("a") / text) == Path("a/train.label")
    assert label_path(Path("a") / text, Path("b")) == Path("b/train.label")


def test_labels_of_validation_may_have_the_short_name(tmp_path: Path) -> None:
    assert label_path(tmp_path / "validation.parquet") == tmp_path / "validation.label"
    (tmp_path / "valid.label").touch()
    assert label_path(tmp_path / "validation.parquet") == tmp_path / "valid.label"


def test_the_second_label_in_order_counts_as_positive_unless_another_is_asked_for() -> None:
    rows = [Labelled("a", label) for label in ("yes", "no", "yes")]
    assert positive_label(rows) == "yes"
    assert positive_label(rows, "no") == "no"
    three = [*rows, Labelled("b", "maybe")]
    assert positive_label(three, "maybe") == "maybe"
    for given, asked, message in (
        (three, None, "there are 3 labels, not two; .*: maybe, no, yes$"),
        (rows, "maybe", "no sentence has the label 'maybe'; the labels are: no, yes$"),
        (rows[:1], None, "all 1 labelled sentences have the label yes"),
        (rows[:1], "yes", "all 1 labelled sentences have the label yes"),
    ):
        with pytest.raises(InputError, match=message):
            positive_label(given, asked)
