"""Reports on directions: old files can be read. What probes find: `test_probes.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.reports.directions import Directions


def test_a_report_of_version_0_1_0_can_be_read_and_drawn() -> None:
    pytest.importorskip("matplotlib")
    report = Directions.load(Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval" / "directions.json")
    assert {row.shift for row in report.moved.random} == {-4, -2, 0, 2, 4}
    assert [panel.get_title() for panel in report.figure().axes] == [
        "accuracy on held-out sentences",
        "moved sentences taken for positive",
    ]
