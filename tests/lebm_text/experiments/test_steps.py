"""Steps: what training is given by an experiment. Their order: `test_runner.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lebm_text.experiments.steps import Training
from lebm_text.progress import silent

from .program import experiment


@pytest.mark.parametrize(("budget", "minutes"), [(4.0, 2.5), (1.0, 0.01), (None, None)])
def test_the_time_that_a_run_has_had_counts_towards_its_budget(
    budget: float | None, minutes: float | None, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, given = experiment(), dict[str, Any]()  # whose runs took 90 seconds each
    monkeypatch.setattr("lebm_text.training.train.train", lambda _, **options: given.update(options))
    config = asked.config(asked.row("lm"), {"lm": 2}, 1)
    Training(done / "lm-seed1", "toy", config, budget).perform(silent, lambda: False, "cpu")
    assert (given["resume"], given["max_minutes"]) == (True, minutes)
