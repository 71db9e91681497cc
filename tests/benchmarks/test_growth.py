"""Growth: a row for every value, costs in multiples of the first, operations as the sizes say."""

from __future__ import annotations

import pytest

from benchmarks import growth
from benchmarks.sizes import SMOKE


def test_every_size_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "BATCH", 3)
    monkeypatch.setattr(growth, "GROWTH", {"batch": (2, 4), "vocab_size": (20, 60), "n_steps": (1, 3)})
    rows = growth.measure(1, smoke=True)["results"]
    assert [(row["size"], row["value"]) for row in rows] == [
        ("batch", 2),
        ("batch", 4),
        ("vocab_size", 20),
        ("vocab_size", 60),
        ("n_steps", 1),
        ("n_steps", 3),
    ]
    assert [row["cost"] for row in rows[::2]] == [1.0] * 3
    more = (4 * 60 + 16 * SMOKE.width) / (4 * 20 + 16 * SMOKE.width)
    assert [row["operations"] for row in rows[1::2]] == pytest.approx([2.0, more, 3.0])
    for row in rows:
        assert row["cost_per_operation"] == pytest.approx(row["cost"] / row["operations"])
