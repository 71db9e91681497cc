"""Steps that take no time: what the runner carries out in its tests, and the files that it then finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lebm_text.experiments.plan import Experiment, Tuning
from lebm_text.experiments.rows import ConfigChanges, Row, RowDecoding
from lebm_text.experiments.runner import LOG, Runner
from lebm_text.experiments.steps import ReportStep, Step, Training
from lebm_text.likelihood.estimates import Estimate
from lebm_text.reports.frontier import Frontier, FrontierSettings, Point
from lebm_text.reports.judged import JudgedText
from lebm_text.reports.likelihood import Likelihood, LikelihoodSettings
from lebm_text.reports.perplexity import KnownText, Perplexity, PerplexitySettings
from lebm_text.run import Run
from lm_eval.diversity import compare_each
from lm_eval.embedding import EmbeddingScore

REAL = 4.0
SHA256 = {"train": "1", "valid": "2", "test": "3"}
SPLIT = {"path": "toy.txt", "n_sentences": 9, "n_words": 9}
CORPUS = {
    "name": "toy",
    "origin": "directory",
    "splits": {name: SPLIT | {"sha256": sha256} for name, sha256 in SHA256.items()},
}
OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval"  # whole reports, whose figures are replaced


def changed(path: Path, source: Path, **changes: Any) -> Path:
    """A copy of a report whose first result (of a likelihood: the report) has other values."""
    values = json.loads(source.read_text())
    (values["results"][0] if "results" in values else values).update(changes)
    path.write_text(json.dumps(values))
    return path


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
        "lstm_temperatures": (1.0, 0.5),
        "likelihood_seeds": (1, 2),
        "likelihood": LikelihoodSettings(n_ais=7),
        "compare": (("lebm", "gaussian"),),
    }
    return Experiment(**(settings | changes))


def started(samples: Path, **changes: Any) -> Experiment:
    """A language model, rows that start from it, what a perfect prior would give, and a file of another system."""
    rates: tuple[ConfigChanges, ...] = ({"training.learning_rate": 0.001}, {"training.learning_rate": 0.004})
    rows = (
        Row("other", "another system", samples=str(samples)),
        Row("oracle", "a perfect prior", of="lebm", decoding=RowDecoding(latents="posterior")),
        Row("gaussian", "its twin", settings={"model.prior": "gaussian"}, like="lebm"),
        Row("lebm", "LEBM", trials=rates, start="lm"),
        Row("lm", "a language model", "lm", trials=({"model.dropout": 0.0}, {"model.dropout": 0.5})),
    )
    return experiment(rows=rows, compare=(("lebm", "oracle"),), fed=True, diversity=True, **changes)


def runner(
    root: Path, program: Program, monkeypatch: pytest.MonkeyPatch, asked: Experiment | None = None, **settings: Any
) -> Runner:
    root.mkdir(parents=True, exist_ok=True)
    (root / LOG).touch()
    made = Runner(asked or experiment(), root, **({"corpus": SHA256} | settings))
    monkeypatch.setattr(made, "_call", program)
    return made


def carry_out(root: Path, program: Program, monkeypatch: pytest.MonkeyPatch, asked: Experiment | None = None) -> Runner:
    made = runner(root, program, monkeypatch, asked)
    made.carry_out()
    return made


class Program:
    """Keeps the steps that it was given; `fail` names parts of the names of steps that must end with status 2."""

    def __init__(self, *fail: str) -> None:
        self.steps: list[Step] = []
        self.fail = fail
        self.finished = True

    @property
    def names(self) -> list[str]:
        """Of the steps, trials marked."""
        return [f"{'trial ' * (step.run.parent.name == 'trials')}{step.name}" for step in self.steps]

    def __call__(self, step: Step) -> tuple[int, str]:
        self.steps.append(step)
        if any(word in self.names[-1] for word in self.fail):
            return 2, "it went wrong"
        if isinstance(step, Training):
            self._train(step)
        else:
            step.output.parent.mkdir(parents=True, exist_ok=True)
            _report(step).save(step.output)
        return 0, ""

    def _train(self, step: Training) -> None:
        run = step.run
        state = {"progress": {"seconds": 90.0, "finished": self.finished}}
        git = {"commit": "0123456789abcdef", "changed": False}
        environment: dict[str, Any] = {
            "git": git,
            "lebm_text": "0",
            "cpu": "a",
            "device_name": "a",
            "threads": 1,
            "precision": "fp32",
        }
        values = step.config.to_dict()
        resolved: dict[str, Any] = {"precision": "bf16", "n_threads": 1}
        if step.init is not None:
            resolved["init"] = str(step.init)
            environment["init"] = {"run": str(step.init), "weights_sha256": Run(step.init).weights_sha256}
        files = {
            "config.json": values | {"training": values["training"] | resolved},
            "env.json": environment | {"packages": {"torch": "2"}, "corpus": CORPUS},
            "checkpoints/last/state.json": {"state": state},
        }
        for name, value in files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(json.dumps(value))
        lines = [{"step": 1, "epoch": 1.0, "nll_token": 1.0}, {"step": 2, "epoch": 2, "valid_ppl": 5.0}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (run / "model.safetensors").write_text(f"weights of {run.name}")


def frontier(points: Sequence[tuple[float, float, float | None]], latents: str | None = None) -> Frontier:
    """Of (FPPL, RPPL, temperature), greedy decoding where that is None; with `latents` these alone, half as high."""
    old = Frontier.load(OLD / "frontier-kn5-default-test.json")
    results: list[JudgedText] = []
    judged: list[Point] = []
    headroom: list[Point] = []
    share = 1.0 if latents is None else 0.5
    for fppl, rppl, temperature in points:
        decoded: dict[str, Any] = {"decode": "greedy" if temperature is None else "sample", "temperature": temperature}
        decoded |= {"latents": latents, "text": f"samples,T={temperature},z={latents}"}
        for metric, ppl in (("fppl", fppl * share), ("rppl", rppl * share)):
            duplicates = 0.4 if temperature is None else 0.25
            samples = replace(old.results[0].samples, duplicate_rate=duplicates)
            signature = f"{metric.upper()}|{decoded}"
            changes: dict[str, Any] = {"metric": metric, "ppl": ppl, "samples": samples, "signature": signature}
            results.append(replace(old.results[0], **changes, **decoded))
        (judged if latents is None else headroom).append(
            replace(old.points[0], fppl=fppl * share, rppl=rppl * share, **decoded)
        )
    real = [replace(old.real[0], ppl=REAL, rppl_at_n=REAL + 1)]
    return replace(old, results=results, points=judged, headroom=headroom, real=real)


def described(report: Frontier) -> Frontier:
    """With what an encoder says of each text, higher for later texts and half as high of `latents`, and its variety."""
    figures: dict[str, Any] = {"precision": 0.5, "recall": 0.25, "density": 1.0, "coverage": 1.0}
    figures |= {"ci95": {"frechet": (1.0, 9.0), "precision": (0.4, 0.6), "recall": (0.2, 0.3)}}
    real = EmbeddingScore(**figures, frechet=2.0, n=9, k=5, encoder="e", signature="FED|toy")
    meaning = {
        row.text: replace(real, frechet=(3.0 + i // 2) * (1.0 if row.latents is None else 0.5))
        for i, row in enumerate(report.results)
    }
    looks = compare_each([["a b c d e"] * 2], ["a b c d", "b c d e", "c d e f"], ["a b c d"])[0]
    results = [replace(row, diversity=looks) for row in report.results]
    return replace(report, results=results, meaning=meaning, real_meaning=real)


def _report(step: ReportStep) -> Frontier | Perplexity | Likelihood:
    run, settings = step.run, step.settings
    # Figures that differ by run: the second trial of a row, and a lower seed, are better.
    base = 10.0 + ("gaussian" in run.name) * 2.0 + ("seed2" in run.name) - run.name.endswith("-2") * 1.0
    if isinstance(settings, FrontierSettings):
        decodings = [*((t, t) for t in settings.temperatures), *([(0.1, None)] if settings.greedy else [])]
        points = [(base * by, (base + 2.0) * by, temperature) for by, temperature in decodings]
        if step.samples is not None:
            points = [(7.0, 8.0, None)]
        made = frontier(points, settings.latents)
        if step.samples is not None:  # how another system decodes is not known
            made = replace(made, results=[replace(row, decode=None) for row in made.results])
        if "seed2" in run.name:  # as many real sentences, but others
            made = replace(made, real=[replace(made.real[0], rppl_at_n=4 * (REAL + 1))])
        return described(made) if settings.fed else made
    if isinstance(settings, PerplexitySettings):
        old = Perplexity.load(OLD / "fppl-kn5-default-test.json")
        ppl = base + 2.0 * (settings.metric == "rppl")
        result = replace(old.results[0], metric=settings.metric, ppl=ppl, real_ppl=REAL)
        of_known = {"fppl": 6.25, "rppl": 5.0}[settings.metric]
        known = [KnownText("5-gram samples", "kn5", of_known, 1.0, "")] if settings.calibrate else []
        return replace(old, metric=settings.metric, results=[result], calibration=known)
    whole = Likelihood.load(OLD / "likelihood-test.json")
    assert whole.ais is not None and whole.latent is not None and whole.log_z is not None
    text = replace(whole.ais, nll_standard_error=None, perplexity_standard_error=None)
    if run.name.startswith("lm"):
        exact, of_all = replace(text, nll=20.0, perplexity=5.0), replace(text, nll=21.0, perplexity=5.5)
        nothing: dict[str, Any] = dict.fromkeys(("ais", "importance", "latent", "log_z", "chain_gap", "bracket"))
        return replace(whole, signature="log_p|toy", exact=exact, exact_of_all=of_all, **nothing)
    latent = replace(
        whole.latent,
        reconstruction_nll=Estimate(15.0, 0.0),
        information=Estimate(3.0, 0.1),
        active_units=6,
    )
    return replace(
        whole,
        signature="log_p|toy",
        ais=replace(text, nll=19.0, perplexity=4.5, ess=replace(whole.ais.ess, median=6.5)),
        chain_gap=Estimate(0.0, 0.0),
        latent=latent,
        log_z=replace(whole.log_z, reverse=Estimate(1.25, 0.01)),
        encoder_kl=None,
    )
