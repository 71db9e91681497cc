"""The estimate of memory covers what estimation takes, and is asked before the work."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval import kenlm
from lm_eval.kenlm import check_memory, estimated_bytes, estimated_positions, machine_bytes
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel


@pytest.mark.parametrize("order", [2, 5, 6])
def test_estimate_covers_the_worst_text(order: int) -> None:
    """Almost every n-gram is different; the words themselves, few here, are not part of the estimate."""
    words = np.random.default_rng(1).integers(500, size=(10_000, 20))
    lines = [" ".join(map(str, row)) for row in words.tolist()]
    tracemalloc.start()
    NgramModel.train(lines, KneserNeySettings(order=order))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    estimate = estimated_bytes(220_000, order)
    assert estimate / 2 < peak < estimate


def test_twenty_million_tokens_fit_into_8_gigabytes() -> None:
    assert estimated_bytes(22_000_000, 5) < 8e9


def test_positions_are_extrapolated(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("one two three\n" * 200_000)
    assert estimated_positions(tmp_path / "text") == pytest.approx(1_000_000, rel=0.01)
    (tmp_path / "empty").write_text("")
    assert estimated_positions(tmp_path / "empty") == 0
    (tmp_path / "one word a line").write_text("a\x0bb\u00a0c\x1cd\n" * 100, encoding="utf-8")
    assert estimated_positions(tmp_path / "one word a line") == pytest.approx(300, abs=3)


def test_refusal_says_need_and_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kenlm, "machine_bytes", lambda: 16_000_000_000)
    check_memory(22_000_000, 5)
    with pytest.raises(InputError, match=r"need 180 GB for order 5, and this machine has 16 GB.*lmplz"):
        check_memory(1_000_000_000, 5)
    monkeypatch.setattr(kenlm, "machine_bytes", lambda: None)
    check_memory(1_000_000_000, 5)


def test_machine_has_memory() -> None:
    have = machine_bytes()
    assert have is None or have > 100_000_000
