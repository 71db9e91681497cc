"""What the steps of an experiment left on disk, gathered by row: figures with intervals over seeds, their sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError
from lebm_text.store import read_json

from .comparisons import GREEDY, Points, comparison, distance
from .log import Log
from .plan import Experiment, Row
from .runner import LOG, TUNING
from .statistics import Interval, mean_interval, normal_interval, perplexity_interval
from .steps import (
    METRICS,
    calibrating,
    judging,
    require_same,
    run_directory,
    seconds_trained,
    text_of,
    trial_directory,
)
from .tuning import last_validation

__all__ = ["Results", "gather"]


@dataclass(frozen=True)
class Results:
    """Everything a table says, ready for JSON.

    Attributes:
        rows: by name: label, seeds done, and figures as intervals: `cost` (minutes, epochs), `kn5` (by decoding: fppl,
            rppl, distinct), `lstm` (fppl, rppl), `likelihood` (nll, reconstruction nll, information, log Z, …).
        real: by judge, perplexity of real held-out text.
        known: by name, fppl and rppl of texts of known quality under KN5.
        distances: by text of known quality, then by row: the row's RPPL at the text's FPPL, over the text's RPPL.
        comparisons: paired ratios of two rows by decoding.
        signatures: of all figures, each once.
        environments: that trials and runs were trained in, each once.
        missing: what was asked for and is not there, or not of the present weights, settings and options.
        log: every step with its command, status and seconds.
    """

    name: str
    title: str
    corpus: str
    split: str
    rows: dict[str, dict[str, Any]]
    real: dict[str, dict[str, float]]
    known: dict[str, dict[str, float]]
    distances: dict[str, dict[str, dict[str, Any] | None]]
    comparisons: list[dict[str, Any]]
    tuning: dict[str, Any]
    signatures: list[str]
    environments: list[dict[str, Any]]
    missing: list[str]
    log: list[dict[str, Any]]

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@dataclass
class _Sources:
    """What is collected in passing."""

    real: dict[str, dict[str, float]]
    signatures: dict[str, None]
    environments: dict[str, dict[str, Any]]
    missing: list[str]


@dataclass(frozen=True)
class _Run:
    """A run from one seed, and those of its reports that are of its weights, by name."""

    directory: Path
    reports: Mapping[str, dict[str, Any]]


def gather(experiment: Experiment, root: Path) -> Results:
    """Of what is done so far.

    Only what is there as the experiment asks for it: a report of older weights or of other options counts as missing,
    as does a run whose training failed or was stopped. Raises InputError for a run of other settings, or runs on
    different texts.
    """
    sources, log = _Sources({}, {}, {}, []), Log(root / LOG)
    tuning = read_json(root / TUNING) if (root / TUNING).is_file() else {}
    chosen = {name: choice["chosen"] for name, choice in tuning.items()}
    runs = {row.name: _runs(experiment, row, chosen, root, log, sources) for row in experiment.rows}
    trained = [run.directory for of_row in runs.values() for run in of_row.values()]
    _require_one_text(trained)
    trials = [trial_directory(root, row, n) for row in experiment.rows for n in range(1, len(row.trials) + 1)]
    _add_environments([*trials, *trained], sources)
    points = {name: {seed: _points(run, sources) for seed, run in of_row.items()} for name, of_row in runs.items()}
    rows = {row.name: _row(row, runs[row.name], points[row.name], sources) for row in experiment.rows}
    known = _known(experiment, root, log)
    return Results(
        experiment.name,
        experiment.title,
        experiment.corpus,
        experiment.split,
        rows,
        sources.real,
        known,
        {text: {name: distance(figures, of_row) for name, of_row in points.items()} for text, figures in known.items()},
        [comparison(pair, points) for pair in experiment.compare],
        tuning,
        list(sources.signatures),
        list(sources.environments.values()),
        sources.missing,
        log.entries(),
    )


def _runs(
    experiment: Experiment, row: Row, chosen: Mapping[str, int], root: Path, log: Log, sources: _Sources
) -> dict[int, _Run]:
    """Seed → run, of those that ended well."""
    found = {}
    for seed in experiment.seeds:
        run = run_directory(root, row, seed)
        trained = log.training(run)
        if not experiment.is_settled(row, chosen) or not (run / "model.safetensors").is_file():
            sources.missing.append(run.name)
        elif trained is not None and trained["status"]:
            sources.missing.append(f"{run.name} (its training ended with status {trained['status']})")
        else:
            require_same(run, experiment.config(row, chosen, seed))
            reports = {}
            for step in judging(experiment, run, seed):
                if step.output is not None and step.is_done(log):
                    reports[step.output.stem] = read_json(step.output)
                elif step.output is not None:
                    sources.missing.append(f"{run.name} {step.output.stem}")
            found[seed] = _Run(run, reports)
    return found


def _require_one_text(runs: Sequence[Path]) -> None:
    for run in runs[1:]:
        if text_of(run) != text_of(runs[0]):
            raise InputError(f"{runs[0]} and {run} were trained on different texts; they are no one table")


def _add_environments(directories: Sequence[Path], sources: _Sources) -> None:
    """Of the trials and runs that there are."""
    for path in (directory / "env.json" for directory in directories):
        if path.is_file():
            environment = read_json(path)
            kept = {key: environment[key] for key in ("git", "lebm_text", "cpu", "device_name", "threads", "precision")}
            sources.environments.setdefault(json.dumps(kept), kept | {"packages": environment["packages"]})


def _row(row: Row, runs: Mapping[int, _Run], points: Mapping[int, Points], sources: _Sources) -> dict[str, Any]:
    directories = [run.directory for run in runs.values()]
    decodings = dict.fromkeys(decoding for seed in points.values() for decoding in seed)
    validations = [last_validation(directory) for directory in directories]
    return {
        "label": row.label,
        "seeds": list(runs),
        "cost": {
            "minutes": _interval([seconds_trained(directory) / 60 for directory in directories]),
            "epochs": _interval([epochs for _, epochs in validations]),
        },
        "validation": _each([figures for figures, _ in validations], mean_interval),
        "kn5": {
            decoding: _each([seed[decoding] for seed in points.values() if decoding in seed], perplexity_interval)
            for decoding in decodings
        },
        "lstm": _lstm(list(runs.values()), sources),
        "likelihood": _likelihoods(list(runs.values()), sources),
    }


def _points(run: _Run, sources: _Sources) -> Points:
    """Of a run's frontier report."""
    report = run.reports.get("frontier", {"results": [], "real": []})
    points: Points = {}
    for result in report["results"]:
        decoding = GREEDY if result["decode"] == GREEDY else f"T={result['temperature']:g}"
        point = points.setdefault(decoding, {"distinct": 1 - result["samples"]["duplicate_rate"]})
        point[result["metric"]] = result["ppl"]
        sources.signatures[result["signature"]] = None
    for real in report["real"]:
        sources.real[real["judge"]] = {key: real[key] for key in ("ppl", "rppl_at_n") if real.get(key) is not None}
    return points


def _known(experiment: Experiment, root: Path, log: Log) -> dict[str, dict[str, float]]:
    """Text → fppl and rppl, of the calibrated reports."""
    found: dict[str, dict[str, float]] = {}
    for step in calibrating(experiment, root, root):
        if step.output is not None and step.is_done(log):
            for row in read_json(step.output)["calibration"]:
                found.setdefault(row["text"], {})[step.arguments[0]] = row["ppl"]
    return found


def _lstm(runs: Sequence[_Run], sources: _Sources) -> dict[str, Any]:
    figures = []
    for run in runs:
        found = {}
        for metric in METRICS:
            if report := run.reports.get(f"{metric}-lstm"):
                (result,) = report["results"]
                found[metric] = result["ppl"]
                sources.signatures[result["signature"]] = None
                sources.real["lstm"] = {"ppl": result["real_ppl"]}
        if found:
            figures.append(found)
    return _each(figures, perplexity_interval)


def _likelihoods(runs: Sequence[_Run], sources: _Sources) -> dict[str, Any]:
    """Intervals over seeds, of perplexities in logarithms; of one seed over sentences."""
    rows = [_likelihood(run.reports["likelihood"], sources) for run in runs if "likelihood" in run.reports]
    values = [{key: estimate.value for key, estimate in row.items()} for row in rows]
    perplexities = [{key: value for key, value in row.items() if key.startswith("perplexity")} for row in values]
    over_seeds = _each(values, mean_interval) | _each(perplexities, perplexity_interval)
    return {key: asdict(rows[0][key]) for key in rows[0]} if len(rows) == 1 else over_seeds


def _likelihood(report: Mapping[str, Any], sources: _Sources) -> dict[str, Interval]:
    """The figures of a run's likelihood report that a table has room for, with their intervals over sentences."""
    sources.signatures[report["signature"]] = None
    whole, latent = report.get("exact_of_all"), report.get("latent") or {}
    bound = report["ais"] if whole is None else report["exact"]  # neither with -n 0
    keys = ("nll", "perplexity")
    found = (
        {} if bound is None else {key: normal_interval(bound[key], bound.get(f"{key}_standard_error")) for key in keys}
    )
    if whole is not None:
        found["perplexity_of_all"] = normal_interval(whole["perplexity"], whole.get("perplexity_standard_error"))
    estimates = {key: report.get(key) for key in ("chain_gap", "encoder_kl")}
    estimates["log_z"] = (report.get("log_z") or {}).get("reverse")
    estimates |= {key: latent.get(key) for key in ("reconstruction_nll", "information")}
    for key, estimate in estimates.items():
        if estimate is not None:
            found[key] = normal_interval(estimate["value"], estimate.get("standard_error"))
    if latent.get("active_units") is not None:
        found["active_units"] = normal_interval(latent["active_units"], None)
    if (ess := (report.get("ais") or {}).get("ess")) is not None:
        found["chain_ess"] = normal_interval(ess["median"], None)
    return found


def _each(rows: Sequence[dict[str, float]], interval: Callable[[Sequence[float]], Interval]) -> dict[str, Any]:
    """Key → interval over the rows that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: asdict(interval([row[key] for row in rows if key in row])) for key in keys}


def _interval(values: Sequence[float]) -> dict[str, Any] | None:
    return asdict(mean_interval(values)) if values else None
