"""The benchmark of a busy machine has a row for each way of waiting, alone and beside other work."""

from __future__ import annotations

import pytest

from benchmarks import busy
from lebm_text.threads import SHORT_SPIN


def test_each_way_of_waiting_is_timed_alone_and_beside_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def updates(variables: dict[str, str], n_threads: int, *, smoke: bool) -> float:
        seen.append((variables, n_threads))
        return float(n_threads)

    monkeypatch.setattr(busy, "_updates", updates)
    rows = busy.measure(2, 1, 1, smoke=True)["results"]
    assert [(row["load"], row["threads"]) for row in rows] == [(n, k) for n in (0, 1) for k in (2, 2, 2, 1)]
    assert [row["ratio"] for row in rows] == 2 * [2.0, 2.0, 2.0, 1.0]
    assert all(set(row) == set(busy.COLUMNS) for row in rows)
    assert seen[:4] == [({}, 2), (SHORT_SPIN, 2), ({"OMP_WAIT_POLICY": "passive"}, 2), ({}, 1)]


def test_updates_are_timed() -> None:
    assert busy._child(smoke=True) > 0
