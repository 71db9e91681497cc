"""What the steps of an experiment left on disk, gathered by row: figures with intervals over seeds, their sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lebm_text.files import read_json

from .plan import Experiment, Row
from .statistics import Interval, mean_interval, paired_ratio, perplexity_interval, rppl_at
from .steps import run_directory, seconds_trained
from .tuning import last_validation

__all__ = ["Results", "gather"]

GREEDY = "greedy"
METRICS = ("fppl", "rppl")
_Points = dict[str, dict[str, float]]  # decoding → figure → value


@dataclass(frozen=True)
class Results:
    """Everything a table says, ready for JSON.

    Attributes:
        rows: by name: label, seeds done, and figures as intervals: `cost` (minutes, epochs), `kn5` (by decoding: fppl,
            rppl, distinct), `lstm` (fppl, rppl), `likelihood` (nll, reconstruction nll, information, active units, …).
        real: by judge, perplexity of real held-out text.
        known: by name, fppl and rppl of texts of known quality under KN5.
        comparisons: paired ratios of two rows by decoding.
        signatures: of all figures, each once.
        log: every step with its command, status and seconds.
    """

    name: str
    title: str
    corpus: str
    split: str
    rows: dict[str, dict[str, Any]]
    real: dict[str, dict[str, float]]
    known: dict[str, dict[str, float]]
    comparisons: list[dict[str, Any]]
    tuning: dict[str, Any]
    signatures: list[str]
    environments: list[dict[str, Any]]
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


def gather(experiment: Experiment, root: Path) -> Results:
    """Of what is done so far; a seed whose run is not finished or not judged is left out where it is missing."""
    sources = _Sources({}, {}, {})
    points: dict[str, dict[int, _Points]] = {}
    rows = {}
    for row in experiment.rows:
        runs = {seed: run_directory(root, row, seed) for seed in experiment.seeds}
        runs = {seed: run for seed, run in runs.items() if (run / "model.safetensors").is_file()}
        points[row.name] = {seed: _points(run, sources) for seed, run in runs.items()}
        rows[row.name] = _row(row, runs, points[row.name], sources)
    return Results(
        experiment.name,
        experiment.title,
        experiment.corpus,
        experiment.split,
        rows,
        sources.real,
        _known(root),
        [_comparison(pair, points) for pair in experiment.compare],
        read_json(root / "tuning.json") if (root / "tuning.json").is_file() else {},
        list(sources.signatures),
        list(sources.environments.values()),
        _lines(root / "log.jsonl"),
    )


def _row(row: Row, runs: dict[int, Path], points: dict[int, _Points], sources: _Sources) -> dict[str, Any]:
    for run in runs.values():
        environment = read_json(run / "env.json")
        kept = {key: environment[key] for key in ("git", "lebm_text", "cpu", "device_name", "threads", "precision")}
        sources.environments.setdefault(json.dumps(kept), kept | {"packages": environment["packages"]})
    decodings = dict.fromkeys(decoding for seed in points.values() for decoding in seed)
    validations = [last_validation(run) for run in runs.values()]
    return {
        "label": row.label,
        "seeds": list(runs),
        "cost": {
            "minutes": _interval([seconds_trained(run) / 60 for run in runs.values()]),
            "epochs": _interval([epochs for _, epochs in validations]),
        },
        "validation": _each([figures for figures, _ in validations], mean_interval),
        "kn5": {
            decoding: _each([seed[decoding] for seed in points.values() if decoding in seed], perplexity_interval)
            for decoding in decodings
        },
        "lstm": _lstm(list(runs.values()), sources),
        "likelihood": _each([found for run in runs.values() if (found := _likelihood(run, sources))], mean_interval),
    }


def _points(run: Path, sources: _Sources) -> _Points:
    """Decoding → fppl, rppl and the share of distinct sentences, of a run's frontier report."""
    path = run / "eval" / "frontier.json"
    if not path.is_file():
        return {}
    report = read_json(path)
    points: _Points = {}
    for result in report["results"]:
        decoding = GREEDY if result["decode"] == GREEDY else f"T={result['temperature']:g}"
        point = points.setdefault(decoding, {"distinct": 1 - result["samples"]["duplicate_rate"]})
        point[result["metric"]] = result["ppl"]
        sources.signatures[result["signature"]] = None
    for real in report["real"]:
        sources.real[real["judge"]] = {key: real[key] for key in ("ppl", "rppl_at_n") if key in real}
    return points


def _known(root: Path) -> dict[str, dict[str, float]]:
    """Text → fppl and rppl, of the calibrated reports."""
    found: dict[str, dict[str, float]] = {}
    for metric in METRICS:
        path = root / f"{metric}-known.json"
        for row in read_json(path)["calibration"] if path.is_file() else ():
            found.setdefault(row["text"], {})[metric] = row["ppl"]
    return found


def _lstm(runs: Sequence[Path], sources: _Sources) -> dict[str, Any]:
    figures = []
    for run in runs:
        found = {}
        for metric in METRICS:
            path = run / "eval" / f"{metric}-lstm.json"
            if path.is_file():
                (result,) = read_json(path)["results"]
                found[metric] = result["ppl"]
                sources.signatures[result["signature"]] = None
                sources.real["lstm"] = {"ppl": result["real_ppl"]}
        if found:
            figures.append(found)
    return _each(figures, perplexity_interval)


def _likelihood(run: Path, sources: _Sources) -> dict[str, float]:
    """The figures of a run's likelihood report that a table has room for."""
    path = run / "eval" / "likelihood.json"
    if not path.is_file():
        return {}
    report = read_json(path)
    sources.signatures[report["signature"]] = None
    whole, latent = report.get("exact_of_all"), report.get("latent") or {}
    bound = report["ais"] if whole is None else report["exact"]  # neither with -n 0
    found = {} if bound is None else {key: bound[key] for key in ("nll", "perplexity")}
    if whole is not None:
        found["perplexity_of_all"] = whole["perplexity"]
    estimates = {key: report.get(key) for key in ("chain_gap", "encoder_kl")}
    estimates |= {key: latent.get(key) for key in ("reconstruction_nll", "information")}
    found |= {key: estimate["value"] for key, estimate in estimates.items() if estimate is not None}
    if latent.get("active_units") is not None:
        found["active_units"] = latent["active_units"]
    return found


def _comparison(pair: tuple[str, str], points: dict[str, dict[int, _Points]]) -> dict[str, Any]:
    """Ratios first / second of fppl and rppl by decoding, over the seeds that both have.

    `rppl_at_equal_fppl`: that of the first row's RPPL where, at some temperature between those judged, its FPPL is
    the second's. One number for two curves, which `fppl` and `rppl` at equal temperatures are not: of two rows one is
    often the better on one and the worse on the other.
    """
    first, second = (points[name] for name in pair)
    decodings = dict.fromkeys(decoding for seed in first.values() for decoding in seed)
    ratios: dict[str, dict[str, Any]] = {}
    for decoding in decodings:
        both = [
            (first[s], second[s][decoding]) for s in first if decoding in first[s] and decoding in second.get(s, {})
        ]
        if both:
            ratios[decoding] = {
                metric: _ratio([(a[decoding][metric], b[metric]) for a, b in both]) for metric in METRICS
            }
            equal = [(rppl_at(b["fppl"], _frontier(a)), b["rppl"]) for a, b in both if decoding != GREEDY]
            ratios[decoding]["rppl_at_equal_fppl"] = _ratio([(at, rppl) for at, rppl in equal if at is not None])
    return {"first": pair[0], "second": pair[1], "ratios": ratios}


def _ratio(pairs: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    return asdict(paired_ratio(*zip(*pairs, strict=True))) if pairs else None


def _frontier(points: _Points) -> list[tuple[float, float]]:
    return [(point["fppl"], point["rppl"]) for decoding, point in points.items() if decoding != GREEDY]


def _each(rows: Sequence[dict[str, float]], interval: Callable[[Sequence[float]], Interval]) -> dict[str, Any]:
    """Key → interval over the rows that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: asdict(interval([row[key] for row in rows if key in row])) for key in keys}


def _interval(values: Sequence[float]) -> dict[str, Any] | None:
    return asdict(mean_interval(values)) if values else None


def _lines(path: Path) -> list[dict[str, Any]]:
    lines: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return [json.loads(line) for line in lines]
