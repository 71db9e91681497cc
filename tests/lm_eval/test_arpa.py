"""The ARPA text: numbers as kenlm reads them, files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lm_eval import kenlm
from lm_eval.kenlm import write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel

from .reference import parse_arpa


def test_numbers() -> None:
    logs = [-np.inf, 0, -0.0, -1.5, -99, -12.25, -0.000125, -0.99999999, -3.2e-10]
    expected = ["-inf", "0", "0", "-1.50000000", "-99.00000000", "-12.25000000", "-0.00012500", "-1.00000000"]
    expected += ["-0.00000000"]
    assert kenlm._numbers(np.array(logs, dtype=np.float32)) == expected


def test_numbers_are_exact_in_single_precision() -> None:
    logs = -np.random.default_rng(1).exponential(2, 10_000).astype(np.float32)
    read = np.array(list(map(float, kenlm._numbers(logs))))
    assert np.abs(read - logs).max() <= 5.1e-9


def test_layout(tmp_path: Path) -> None:
    write_arpa(NgramModel.train(["b é"], KneserNeySettings(order=2)), tmp_path / "model.arpa")
    lines = (tmp_path / "model.arpa").read_bytes().decode("utf-8").split("\n")
    assert lines[:5] == ["\\data\\", "ngram 1=5", "ngram 2=3", "", "\\1-grams:"]
    assert lines[-3:] == ["", "\\end\\", ""]
    assert [line.split("\t")[1] for line in lines[5:10]] == ["<unk>", "<s>", "</s>", "b", "é"]
    assert [line.count("\t") for line in lines[12:15]] == [1, 1, 1]  # no back-off at the highest order


def test_pieces_of_any_size_make_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NgramModel.train(["a b c", "c b a", "a a"], KneserNeySettings(order=3))
    write_arpa(model, tmp_path / "one")
    monkeypatch.setattr(kenlm, "_CHUNK", 2)
    write_arpa(model, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert len(parse_arpa((tmp_path / "two").read_text())) == sum(map(len, model.tables))


def test_interrupted_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NgramModel.train(["a"], KneserNeySettings(order=2))
    (tmp_path / "model.arpa").write_text("old")

    def interrupt(_logs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kenlm, "_numbers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_arpa(model, tmp_path / "model.arpa")
    assert [path.name for path in tmp_path.iterdir()] == ["model.arpa"]
    assert (tmp_path / "model.arpa").read_text() == "old"
