"""A program that answers as `lebm-text` does, in no time: what the runner calls in its tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lebm_text.experiments.plan import Experiment, Row, Tuning
from lebm_text.experiments.runner import Runner
from lebm_text.presets import preset

REAL = 4.0
SHA256 = {"train": "1", "valid": "2", "test": "3"}
CORPUS = {"name": "toy", "splits": {name: {"sha256": sha256} for name, sha256 in SHA256.items()}}


def experiment(**changes: Any) -> Experiment:
    """Two rows that are tuned and a twin of the first."""
    rows = (
        Row("lebm", "LEBM", "quick", trials=({"training.learning_rate": 0.001}, {"training.learning_rate": 0.004})),
        Row("lm", "a language model", "lm", trials=({"model.dropout": 0.0}, {"model.dropout": 0.5})),
        Row("gaussian", "its twin", "gaussian", {"model.prior": "gaussian"}, like="lebm"),
    )
    settings: dict[str, Any] = {
        "name": "tiny",
        "title": "A tiny experiment",
        "corpus": "toy",
        "seeds": (1, 2),
        "rows": rows,
        "settings": {"training.n_epochs": 4},
        "tuning": Tuning(n_epochs=2, n_samples=50),
        "n_samples": 60,
        "temperatures": (1.0, 0.5),
        "lstm_seeds": (1,),
        "likelihood_seeds": (1, 2),
        "likelihood": {"n": 7},
        "compare": (("lebm", "gaussian"),),
    }
    return Experiment(**(settings | changes))


def runner(root: Path, program: Program, monkeypatch: pytest.MonkeyPatch, budget: float | None = None) -> Runner:
    made = Runner(experiment(), root, budget)
    monkeypatch.setattr(made, "_call", program)
    return made


def carry_out(root: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = runner(root, program, monkeypatch)
    made.train_and_judge(made.tune())
    return made


class Program:
    """Keeps what it was called with; `fail` names words of a command that must end with status 2."""

    def __init__(self, *fail: str) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.fail = fail
        self.finished = True

    def __call__(self, arguments: Sequence[str], _environment: dict[str, str]) -> tuple[int, str]:
        self.calls.append(tuple(arguments))
        line = " ".join(arguments)
        if any(word in line for word in self.fail):
            return 2, "it went wrong"
        options = dict(pairwise(arguments))
        if arguments[0] == "train":
            changes = [word.removeprefix("--set=") for word in arguments if word.startswith("--set=")]
            self._train(Path(options["--out"]), preset(options["--preset"]).override(changes).to_dict())
        else:
            self._report(arguments[0], Path(options["--run"]), Path(options["-o"]), line)
        return 0, ""

    def _train(self, run: Path, config: dict[str, Any]) -> None:
        state = {"progress": {"seconds": 90.0, "finished": self.finished}}
        git = {"commit": "0123456789abcdef", "changed": False}
        environment = {"git": git, "lebm_text": "0", "cpu": "a", "device_name": "a", "threads": 1, "precision": "fp32"}
        files = {
            "config.json": config | {"training": config["training"] | {"precision": "bf16", "n_threads": 1}},
            "env.json": environment | {"packages": {"torch": "2"}, "corpus": CORPUS},
            "checkpoints/last/state.json": {"state": state},
        }
        for name, value in files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(json.dumps(value))
        lines = [{"step": 1, "epoch": 1.0, "nll_token": 1.0}, {"step": 2, "epoch": 2, "valid_ppl": 5.0}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (run / "model.safetensors").write_text("weights")

    def _report(self, command: str, run: Path, output: Path, line: str) -> None:
        # Figures that differ by run: the second trial of a row, and a lower seed, are better.
        base = 10.0 + ("gaussian" in run.name) * 2.0 + ("seed2" in run.name) - run.name.endswith("-2") * 1.0
        if command == "likelihood":
            report: dict[str, Any] = {"signature": "log_p|toy"}
            if run.name.startswith("lm"):
                report |= {"exact": {"nll": 20.0, "perplexity": 5.0}, "exact_of_all": {"nll": 21.0, "perplexity": 5.5}}
            else:
                latent = {"reconstruction_nll": {"value": 15.0}, "information": {"value": 3.0}, "active_units": 6}
                ais = {"nll": 19.0, "perplexity": 4.5, "ess": {"median": 6.5}}
                report |= {"ais": ais, "chain_gap": {"value": 0.0}, "latent": latent}
                report["log_z"] = {"reverse": {"value": 1.25, "standard_error": 0.01}}
        else:
            metrics = ("fppl", "rppl") if command == "evaluate" else (command,)
            temperatures = [1.0, 0.5] if "0.5" in line else [1.0]
            rows = [_result(metric, base, t) for t in temperatures for metric in metrics]
            rows += [
                _result(metric, base, None) for metric in metrics if "--no-greedy" not in line and command == "evaluate"
            ]
            points = [{"fppl": base, "rppl": base + 2, "temperature": 1.0}]
            if "--calibrate" in line:
                output.write_text(json.dumps({"calibration": [{"text": "5-gram samples", "ppl": 6.25}]}))
                return
            report = {"results": rows, "points": points, "real": [{"judge": "kn5", "ppl": REAL, "rppl_at_n": REAL + 1}]}
        output.write_text(json.dumps(report))


def _result(metric: str, base: float, temperature: float | None) -> dict[str, Any]:
    decode = {"decode": "greedy"} if temperature is None else {"decode": "sample", "temperature": temperature}
    ppl = (base + 2.0 * (metric == "rppl")) * (temperature or 0.1)
    return {
        "metric": metric,
        "ppl": ppl,
        "real_ppl": REAL,
        "samples": {"duplicate_rate": 0.25},
        "signature": f"{metric.upper()}|{decode}",
    } | decode
