"""Reports on directions: sentences are moved as far as is said, old files can be read. Probes: `test_probes.py`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lebm_text.reports.directions import Directions, DirectionsSettings, MovedSentence, _moved
from lebm_text.reports.probes import Probe, other_direction
from lebm_text.text.labels import Labelled

from ..tiny import tiny_model

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval" / "directions.json"


def test_a_move_is_so_many_standard_deviations_along_the_direction() -> None:
    """Of each sentence's own posterior draw; what a bag of words makes of all of them is a share with its error."""
    model, sentences, unit = tiny_model(), ["the cat sees", "a dog", "dog"], torch.tensor([0.8, -0.4, 0.2, 0.4])
    z, shifts = model.infer(sentences, seed=3), (-4.0, -2.0, 0.0, 2.0, 4.0)
    steps = [0.5 * unit, 0.5 * other_direction(unit, seed=3)]
    texts = [{shift: model.decode(z + shift * step) for shift in shifts} for step in steps]
    assert len({tuple(lines) for of_step in texts for lines in of_step.values()}) > 5

    def share(lines: list[str]) -> float:
        return sum(len(line) > 9 for line in lines) / 3

    rows = [Labelled(sentence, "x") for sentence in sentences]
    shares, (example,) = _moved(model, Probe(unit, 0.5), rows, share, DirectionsSettings(shown=1, seed=3))
    for of_step, found in zip(texts, (shares.attribute, shares.random), strict=True):
        for row, (shift, lines) in zip(found, of_step.items(), strict=True):
            assert (row.shift, row.share_positive) == (shift, share(lines))
            assert row.standard_error == pytest.approx(math.sqrt(share(lines) * (1 - share(lines)) / 3))
    assert shares.attribute != shares.random
    moved = [MovedSentence(shift, lines[0]) for shift, lines in texts[0].items()]
    assert (example.input, example.label, example.moved) == (sentences[0], "x", moved)
    report = replace(Directions.load(OLD), direction=unit.tolist(), scale=0.5)
    assert report.move(model, sentences[0], shifts, seed=3) == moved


def test_a_report_of_version_0_1_0_can_be_read_and_drawn() -> None:
    pytest.importorskip("matplotlib")
    report = Directions.load(OLD)
    assert {row.shift for row in report.moved.random} == {-4, -2, 0, 2, 4}
    assert [panel.get_title() for panel in report.figure().axes] == [
        "accuracy on held-out sentences",
        "moved sentences taken for positive",
    ]
