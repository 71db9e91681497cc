"""`lebm-text directions`: labels are found, the report has its baselines, and what is wrong is said in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lebm_text.cli.main import main
from lebm_text.reports.posterior import shuffled
from lebm_text.reports.probes import accuracy_by_size, bag_of_words
from lebm_text.text.corpora import find_corpus

from ..tiny import tiny_model
from .commands import changed
from .conftest import Report
from .test_main import one_line

pytest.importorskip("sklearn")

QUICK = ["directions", "--device", "cpu", "--draws", "1", "--repeats", "2", "--held-out", "20", "--moved", "6"]


@pytest.fixture
def labels(grammar_corpus: Path) -> Path:
    """The corpus with labels: whether the topic begins with 1; every seventh sentence has none."""
    for split in ("train", "valid"):
        lines = (grammar_corpus / f"{split}.txt").read_text().splitlines()
        marks = ["" if i % 7 == 0 else "late" if "verb1" in line else "early" for i, line in enumerate(lines)]
        (grammar_corpus / f"{split}.label").write_text("".join(f"{mark}\n" for mark in marks))
    return grammar_corpus


@pytest.mark.pictures
def test_the_report(labels: Path, grammar_run: Path, report_of: Report) -> None:
    pytest.importorskip("matplotlib")
    report = report_of(*changed(QUICK, "--size", "10", "--size", "40", "--shown", "2"))
    assert json.loads((grammar_run / "eval" / "directions.json").read_text()) == report
    assert "majority" in (grammar_run / "eval" / "directions.svg").read_text()
    assert report["positive"] == "late"
    assert [row["n"] for row in report["accuracy"]] == [10, 40]
    assert [len(row["probe"]["draws"]) for row in report["accuracy"]] == [2, 1]
    (learned, truth), (tested, held_out) = (_chosen(labels, *each) for each in (("train", 40), ("valid", 20)))
    bag = bag_of_words(learned)
    pair = (bag.transform(learned), truth), (bag.transform(tested), held_out)
    (accuracy,) = accuracy_by_size(*pair, [40], 1, seed=1)
    of_all = report["accuracy"][1]
    assert of_all["bag_of_words"]["mean"] == pytest.approx(accuracy.mean) != of_all["probe"]["mean"]
    share = float(held_out.mean())
    assert report["majority"] == pytest.approx(max(share, 1 - share))
    assert share != 0.5
    assert [row["shift"] for row in report["moved"]["random"]] == [-4, -2, 0, 2, 4]
    assert report["moved"]["random"][2] == report["moved"]["attribute"][2]
    model, examples = tiny_model(), report["sentences"]
    step = report["scale"] * torch.tensor(report["direction"])
    z = model.infer([example["input"] for example in examples], seed=1)
    for i, shift in enumerate((-4, -2, 0, 2, 4)):
        assert [example["moved"][i]["sentence"] for example in examples] == model.decode(z + shift * step)
    assert len(examples) == 2
    assert report["n_labelled"]["train"] < 400
    assert {"train", "valid", "train.label", "valid.label", "weights"} == set(report["sha256"])
    assert "scikit-learn" in report["versions"]
    other = report_of(*changed(QUICK, "--size", "10", "--size", "40", "--positive", "early"))
    assert other["direction"] == pytest.approx([-value for value in report["direction"]], abs=1e-2)


def _chosen(corpus: Path, split: str, n: int) -> tuple[list[str], NDArray[np.bool_]]:
    """The n sentences of a split that the report takes with its seed, and whether each is late."""
    lines, marks = ((corpus / f"{split}.{end}").read_text().splitlines() for end in ("txt", "label"))
    usable = [(line, mark) for line, mark in zip(lines, marks, strict=True) if mark and len(line.split()) <= 8]
    chosen = shuffled(usable, 1)[:n]
    return [line for line, _ in chosen], np.array([mark == "late" for _, mark in chosen])


def test_labels_from_elsewhere_and_lines_for_people(
    labels: Path, grammar_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "marks").mkdir()
    for split in ("train", "valid"):
        (labels / f"{split}.label").rename(tmp_path / "marks" / f"{split}.label")
    assert main(QUICK) == 2
    assert "train.label does not exist" in one_line(capsys)
    assert main(changed(QUICK, "--labels", str(tmp_path / "marks"))) == 0
    out = capsys.readouterr().out
    for part in ("majority class", "bag of words", "along the direction", "along a random one"):
        assert part in out
    assert [line.split()[0] for line in out.splitlines() if " ± " in line][:2] == ["10", "100"]  # as far as there are


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--size", "9999"], "fewer than the size 9,999"),
        (["--size", "1"], "1"),
        (["--positive", "never"], "the labels are: early, late"),
        (["--labels", "nowhere"], "nowhere"),
        (["--split", "test"], "test.label does not exist"),
        (["--repeats", "0"], "0"),
        (["-o", "nowhere/at/all.json"], "nowhere"),
    ],
)
def test_wrong_arguments_are_one_line(
    labels: Path, grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert main(changed(QUICK, *arguments)) == 2
    assert part in one_line(capsys)


@pytest.mark.parametrize(
    ("marks", "part"),
    [
        ("one\ntwo\nthree\n" * 20, "say which one is positive"),
        ("one\n" * 60, "have the label one; at least two"),
        ("one\n", "lines"),
    ],
)
def test_labels_that_do_not_make_an_attribute(
    labels: Path, grammar_run: Path, capsys: pytest.CaptureFixture[str], marks: str, part: str
) -> None:
    learn_from(labels, grammar_run, (labels / "valid.txt").read_text(), marks)
    assert main(QUICK) == 2
    assert part in one_line(capsys)


def test_labels_of_the_split_that_train_does_not_know_are_named(
    labels: Path, grammar_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would count as the other class."""
    path = labels / "valid.label"
    path.write_text(path.read_text().replace("late", "Late"))
    assert main(QUICK) == 2
    assert "valid has labels that no training sentence has: Late; those of train are: early, late" in one_line(capsys)


def test_no_labelled_sentence_fits_the_model(
    labels: Path, grammar_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn_from(labels, grammar_run, "the cat sees the dog and the dog sees the cat\n" * 2, "early\nlate\n")
    assert main(QUICK) == 2
    assert "none of the 2 labelled sentences of grammar train fits the model" in one_line(capsys)


def learn_from(corpus: Path, run: Path, sentences: str, marks: str) -> None:
    """Make these the training text of both, and its labels."""
    (corpus / "train.txt").write_text(sentences)
    (corpus / "train.label").write_text(marks)
    described = json.loads((run / "env.json").read_text())
    described["corpus"] = find_corpus(str(corpus)).describe()
    (run / "env.json").write_text(json.dumps(described))


def test_a_missing_package_is_named(
    labels: Path, grammar_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert main(QUICK) == 2
    assert "lebm-text[analysis]" in one_line(capsys)
