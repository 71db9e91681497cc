"""The report of anomaly detection: what one of version 0.1.0 holds can be read, shown and drawn."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.reports import load
from lebm_text.reports.anomaly import Anomaly, Row, _contrast, verdict
from lebm_text.reports.anomaly_systems import Resampled, SystemScores
from lebm_text.reports.anomaly_texts import NORMAL, Anomalies, AnomalySettings

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
    for curves, line, steps in zip(contrast.curves.values(), roc.lines, precision.lines, strict=False):
        assert np.asarray(line.get_xydata()) == pytest.approx(np.asarray(curves.roc))
        assert np.asarray(steps.get_xydata()) == pytest.approx(np.asarray(curves.precision_over_recall))
    assert precision.get_title() == "swap 0.5: precision (high is good)"
    assert all(row.auroc_ci95[0] <= row.auroc <= row.auroc_ci95[1] for row in contrast.results)


def _area(normal: list[float], anomalous: list[float]) -> float:
    """How often an anomaly scores above a normal sentence, ties counted half."""
    return float(np.mean([(b > a) + 0.5 * (b == a) for a, b in product(normal, anomalous)]))


def _precision(normal: list[float], anomalous: list[float]) -> float:
    """Mean over anomalies of the share of anomalies among all that score as high; scores differ."""
    return float(
        np.mean([sum(b >= at for b in anomalous) / sum(x >= at for x in (*normal, *anomalous)) for at in anomalous])
    )


def _system(label: str, values: dict[str, list[float]], **options: Any) -> SystemScores:
    by_text = {text: np.array(scores) for text, scores in values.items()}
    return SystemScores(label=label, values={"main": by_text}, main="main", **options)


def test_every_figure_of_a_contrast_is_its_definition() -> None:
    """A model with a price of `<unk>` and figures per token, against baselines with both, and with neither."""
    pytest.importorskip("sklearn")
    lengths = {NORMAL: np.array([2.0, 8.0, 4.0, 3.0]), "swap": np.array([2.0, 5.0, 7.0])}
    unknown = {NORMAL: np.array([0.0, 1.0, 0.0, 0.0]), "swap": np.array([2.0, 0.0, 1.0])}
    model = _system("ours", {NORMAL: [4.0, 9.0, 6.0, 5.0], "swap": [7.0, 8.0, 5.5]}, is_model=True, lengths=lengths)
    kn5 = _system("kn5", {NORMAL: [5.0, 8.5, 3.0, 1.0], "swap": [4.0, 9.5, 2.0]}, is_model=False, lengths=lengths)
    length = _system("length", {NORMAL: [2.0, 8.0, 4.0, 3.0], "swap": [2.5, 5.0, 7.0]}, is_model=False, lengths=None)
    systems = [model.with_price(unknown, 3.0), kn5.with_price(unknown, 3.0), length]
    found = _contrast("toy", Anomalies("swap", ["x"] * 3), 4, systems, AnomalySettings(resamples=50))
    assert (found.n_normal, found.n_anomalous) == (4, 3)
    assert found.share == pytest.approx(3 / 7)
    forms = {
        "main": lambda system, text: system.values["main"][text],
        "main + <unk>": lambda system, text: system.values["main"][text] + 3 * unknown[text],
    }
    areas: dict[tuple[str, str, bool], float] = {}
    for system, score, per_token in product((model, kn5, length), forms, (False, True)):
        if system is length and (per_token or score != "main"):
            continue
        normal, anomalous = (
            (forms[score](system, text) / (lengths[text] if per_token else 1)).tolist() for text in (NORMAL, "swap")
        )
        (row,) = [
            each
            for each in found.results
            if (each.system, each.score, each.per_token) == (system.label, score, per_token)
        ]
        assert isinstance(row, Row)
        areas[system.label, score, per_token] = _area(normal, anomalous)
        assert row.auroc == pytest.approx(_area(normal, anomalous))
        assert row.auprc == pytest.approx(_precision(normal, anomalous))
        assert row.auroc_ci95[0] <= row.auroc <= row.auroc_ci95[1]
    assert len(found.results) == len(areas) == 9
    # `length` has neither a price nor figures per token: its plain score stands against each of the model's.
    expected = {
        (baseline, score, per_token): areas["ours", score, per_token]
        - areas.get((baseline, score, per_token), areas["length", "main", False])
        for baseline, score, per_token in product(("kn5", "length"), forms, (False, True))
    }
    compared = {(each.baseline, each.score, each.per_token): each.auroc_difference for each in found.comparisons}
    assert compared == pytest.approx(expected)
    assert {each.model for each in found.comparisons} == {"ours"}
    assert len(found.comparisons) == 8
    assert set(found.curves) == {"ours main", "kn5 main", "length main"}


def test_spoilt_sentences_stand_beside_those_that_they_were_made_of_and_are_resampled_with_them() -> None:
    pytest.importorskip("sklearn")
    normal, swapped = [4.0, 9.0, 6.0, 5.0, 7.5, 3.0], [7.0, 8.0, 5.5, 6.5]
    system = _system("ours", {NORMAL: normal, "swap": swapped}, is_model=True, lengths=None)
    settings, origins = AnomalySettings(resamples=50), [5, 1, 2, 4]
    found = _contrast("toy", Anomalies("swap", ["x"] * 4, of=origins), 6, [system], settings)
    of_each = [normal[i] for i in origins]
    assert (found.n_normal, found.n_anomalous, found.share) == (4, 4, 0.5)
    (row,) = found.results
    assert row.auroc == pytest.approx(_area(of_each, swapped))
    intervals = [
        Resampled(4, 4, n_resamples=50, paired=paired, seed=settings.seed)
        .areas(np.array(of_each), np.array(swapped))
        .auroc.ci95
        for paired in (True, False)
    ]
    assert row.auroc_ci95 == intervals[0] != intervals[1]


@pytest.mark.parametrize(
    ("ci95", "said"),
    [
        ((0.1, 0.2), "better"),
        ((-0.2, -0.1), "worse"),
        ((-0.1, 0.2), "no difference shown"),
        ((0.0, 0.2), "no difference shown"),
        ((-0.1, 0.0), "no difference shown"),
        ((0.1, 1.0), "better"),
    ],
)
def test_a_verdict_needs_an_interval_without_0(ci95: tuple[float, float], said: str) -> None:
    assert verdict(ci95) == said
