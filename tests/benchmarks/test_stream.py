"""The benchmark of a large text runs through at a small size and reports every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import stream
from lebm_text.config import Config


def test_every_step_has_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "N_WORDS", 50)
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    settings = stream.CONFIG["training"] | {"n_threads": 1, "report_every": 1, "batch_size": 16}
    found = stream.measure(tmp_path / "large", 10_000, 4, Config().merge(stream.CONFIG | {"training": settings}))
    rows = found["results"]
    counted = {step: [row["tokens"] for row in rows if row["step"] == step] for step in {row["step"] for row in rows}}
    for step in ("vocabulary", "encode", "batches"):
        assert len(counted[step]) == stream.PARTS
        assert sum(counted[step]) == found["tokens"]
    assert sum(counted["write"]) == pytest.approx(10_000, rel=0.15)
    assert {"count", "order", "train, until the first update", "resume, until the first update"} <= set(counted)
    assert len(counted["train"]) == len(counted["resume"]) == 2
    for row in rows:
        assert set(row) == set(stream.COLUMNS)
        assert row["seconds"] > 0 and row["resident"] > 0
    assert found["sentences"] == 10_000 // (stream.MEAN_LENGTH + 1)
    assert found["peak_mb"] >= 0.99 * max(row["resident"] for row in rows)  # Linux counts the two a few pages apart
