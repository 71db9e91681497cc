"""The report of anomaly detection: what one of version 0.1.0 holds can be read, shown and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.reports import load
from lebm_text.reports.anomaly import Anomaly

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval" / "anomaly-tiny-corpus.json"


def test_a_report_of_version_0_1_0_can_be_read_and_drawn() -> None:
    pytest.importorskip("matplotlib")
    report = load(OLD)
    assert isinstance(report, Anomaly)
    (contrast,) = report.contrasts
    figure = report.figure()
    assert figure is not None
    roc, precision = figure.axes
    assert [line.get_label() for line in roc.lines[:-1]] == list(contrast.curves)
    assert precision.get_title() == "swap 0.5: precision over recall"
    assert all(row.auroc_ci95[0] <= row.auroc <= row.auroc_ci95[1] for row in contrast.results)
