"""`lebm-text trajectories`: what it prints, writes and draws, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.reports import load

from ..tiny import tiny_model
from .commands import changed
from .conftest import Report
from .test_main import one_line

QUICK = ["trajectories", "--device", "cpu", "-n", "12", "--long", "10", "--shown", "2"]


@pytest.mark.pictures
def test_the_report(grammar_run: Path, report_of: Report) -> None:
    pytest.importorskip("matplotlib")
    report = report_of(*changed(QUICK, "--seed", "3"))
    directory = grammar_run / "eval"
    assert json.loads((directory / "trajectories.json").read_text()) == report
    assert (directory / "trajectories.png").read_bytes().startswith(b"\x89PNG")
    assert "decode=greedy" in (directory / "trajectories.svg").read_text()
    assert json.loads(json.dumps(load(directory / "trajectories.json").to_json())) == report
    places = [(row["decode"], row["step"]) for row in report["judged"]]
    assert places == [(decode, step) for decode in ("sample", "greedy") for step in (0, 1, 4, 40)]
    assert all(len(band) == 5 for band in report["bands"].values())
    assert report["long"]["windows"][-1]["last"] == report["n_long"] == 40
    assert len(report["sentences"]) == 2 * 8
    assert len(report["statements"]) == 6
    assert report["signature"].startswith("trajectories(n=12,long=10)|lm:kn5|prior:ebm-langevin(4x0.5)")
    model = tiny_model()
    generated = model.generate(2, seed=3)
    ends = [row for row in report["sentences"] if row["decode"] == "sample" and row["step"] == 4]
    assert [row["text"] for row in ends] == generated.sentences
    f = model.model.prior.neg_energy(generated.z).tolist()
    assert [row["f"] for row in ends] == pytest.approx(f, abs=1e-5)
    assert report["real"]["fppl"]["ppl"] < report["real"]["rppl"]["ppl"] == report["judged"][0]["rppl"]["real_ppl_at_n"]
    for row in report["judged"]:
        low, high = row["fppl"]["ci95"]
        assert low <= row["fppl"]["ppl"] <= high


def test_lines_for_people_and_a_named_file(
    grammar_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(changed(QUICK, "-o", str(tmp_path / "t.json"))) == 0
    out = capsys.readouterr().out
    for part in ("12 chains", "f in parts", "the short run of 4 steps", "FPPL (decode=greedy)", "sentences along"):
        assert part in out
    assert (tmp_path / "t.json").exists()
    assert not (grammar_run / "eval").exists()


@pytest.mark.parametrize(
    ("sizes", "part"),
    [({"prior": "gaussian"}, "Gaussian"), ({"prior": "gaussian", "latent_dim": 0}, "language model")],
)
def test_models_without_such_chains_are_refused(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], sizes: dict[str, Any], part: str
) -> None:
    tiny_model(**sizes).save_pretrained(grammar_run)
    assert main([*QUICK]) == 2
    assert part in one_line(capsys)


@pytest.mark.parametrize(
    "arguments", [["-n", "1"], ["--long", "9"], ["--run", "nowhere"], ["-o", "nowhere/at/all.json"], ["--shown", "-1"]]
)
def test_wrong_arguments_are_one_line(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(changed(QUICK, "--json", *arguments)) == 2
    assert one_line(capsys)
