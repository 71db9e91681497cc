"""What a trial has come to; the rule of choice itself is in test_runner.py."""

from __future__ import annotations

from pathlib import Path

from lebm_text.experiments.tuning import last_validation
from lebm_text.metrics import MetricsLog
from lebm_text.run import Run


def test_of_several_validations_the_last_one_counts_and_reports_after_it_are_none(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 2, "epoch": 1, "valid_ppl": 9.0, "valid_kl": 1.0})
    log.append({"step": 3, "epoch": 1.5, "nll_token": 3.0})
    log.append({"step": 4, "epoch": 2, "valid_ppl": 7.0})
    log.append({"step": 5, "epoch": 2.5, "nll_token": 2.0})
    log.close()
    assert last_validation(Run(tmp_path)) == ({"valid_ppl": 7.0}, 2.5)
