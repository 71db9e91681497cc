"""What is said of perplexities along the chain: that they fall, rise, or change no more than their intervals allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.table import Table

from lebm_text.inference.short_run import LangevinChain
from lebm_text.reports.trajectories import (
    JudgedStep,
    StepPerplexity,
    Trajectories,
    TrajectoriesSettings,
    _describe_fppl,
    compute,
)
from lebm_text.run import Run

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0"


def _row(decode: str, step: int, ppl: float, rppl: float) -> JudgedStep:
    """With intervals of ± 1."""
    fppl, other = (StepPerplexity(each, (each - 1, each + 1), 9, "") for each in (ppl, rppl))
    return JudgedStep(decode, step, 3, fppl, other)


@pytest.mark.parametrize(("last", "change"), [(7.9, "falls"), (8.1, "changes no more"), (12.1, "rises")])
def test_fppl_at_the_ends_of_both_runs_decides_what_is_said(last: float, change: str) -> None:
    rows = [_row("sample", 0, 20.0, 5.0), _row("sample", 4, 10.0, 50.0), _row("sample", 40, last, 50.0)]
    rows += [_row("greedy", step, 3.0, 3.0) for step in (0, 4, 40)]
    short, rest, *greedy = _describe_fppl(rows, 4, 40)
    assert short.startswith("FPPL (decode=sample) falls in the short run: 20.00 (19.00 to 21.00) at step 0, 10.00 ")
    assert rest.startswith(f"FPPL (decode=sample) {change}")
    assert "in the rest of the long run: 10.00 (9.00 to 11.00) at step 4" in rest and rest.endswith("at step 40")
    assert all(line.startswith("FPPL (decode=greedy) changes no more") for line in greedy)


def test_the_short_run_has_the_steps_of_the_priors_own_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may be none that a setting of the run describes."""
    run = Run(OLD, data_dir=OLD.parent)
    model = run.model(device="cpu")
    model.model.prior.chain = LangevinChain(2, 0.5)  # type: ignore[misc]
    monkeypatch.setattr(run, "model", lambda **_: model)
    report = compute(run, TrajectoriesSettings(n=4, factor=10))
    assert model.config.prior.n_steps != 2
    assert (len(report.bands["norm"]), report.n_long) == (3, 20)
    assert [row.step for row in report.judged if row.decode == "greedy"] == [0, 1, 2, 20]


def test_real_text_stands_below_the_right_headings_whatever_the_order_in_the_file() -> None:
    values = json.loads((OLD / "eval" / "trajectories.json").read_text(encoding="utf-8"))
    values["real"] = {"rppl": {"ppl": 7.0}, "fppl": {"ppl": 5.0}}
    judged = Trajectories.from_json(values).table().renderables[1]
    assert isinstance(judged, Table)
    assert [[str(cell) for cell in column.cells][-1] for column in judged.columns] == ["real text", "", "5.00", "7.00"]
