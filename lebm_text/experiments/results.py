"""Results of an experiment, read from reports and collected by row: figures with intervals over seeds, and sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from lebm_text.errors import InputError
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.likelihood import Likelihood
from lebm_text.reports.perplexity import Perplexity
from lebm_text.run import Run
from lm_eval.protocol import METRICS

from .figures import JUDGES, ByDecoding, SeedRun, Sources, likelihood_of, meaning_of, points_of, variety_of
from .plan import Experiment
from .rows import Row
from .runner import LOG, TUNING
from .statistics import (
    Figures,
    Points,
    RowComparison,
    SeedInterval,
    comparison,
    distance,
    mean_interval,
    perplexity_interval,
    share_interval,
)
from .steps import (
    Log,
    calibrations,
    init_of,
    is_trained,
    reports_of,
    require_same,
    run_directory,
    text_of,
    trial_directory,
)
from .tuning import Choice, last_validation, read_tuning, seconds_trained

__all__ = ["Results", "RowResult", "gather"]

T = TypeVar("T")

_NAMED = ("git", "lebm_text", "cpu", "device_name", "threads", "precision")  # fields of env.json
_INTERVALS = {  # figure → its interval over seeds; that of others is `mean_interval`
    **dict.fromkeys((*METRICS, "distinct", "ppl", "rppl_at_n", "perplexity", "perplexity_of_all"), perplexity_interval),
    **dict.fromkeys(("precision", "recall", "in_train"), share_interval),
}


@dataclass(frozen=True)
class RowResult:
    """The figures of a row.

    Attributes:
        seeds: the seeds that are done.
        cost: minutes and epochs of training; None if nothing is trained.
        validation: figures of the last validation in training.
        kn5, lstm: decoding → fppl, rppl and distinct under this judge.
        likelihood: nll, reconstruction nll, information, log Z, ….
        meaning: decoding → the embedding scores frechet, precision and recall.
        variety: decoding → self_bleu, and in_train of 4-grams.
    """

    label: str
    seeds: list[int]
    cost: dict[str, SeedInterval | None]
    validation: Figures
    kn5: ByDecoding
    lstm: ByDecoding
    likelihood: Figures
    meaning: ByDecoding
    variety: ByDecoding

    def judged(self, judge: str) -> ByDecoding:
        """Return the figures under one of `JUDGES`, by decoding."""
        return {"kn5": self.kn5, "lstm": self.lstm}[judge]


@dataclass(frozen=True)
class Results:
    """Everything that the table of an experiment shows.

    Attributes:
        corpus: name or directory of the corpus.
        rows: name → results of the row.
        real: judge → perplexity of real held-out text; `meaning` and `variety` → these figures of real text. They are
            means over seeds, each of which draws its own sentences.
        known: name of a text of known quality → its fppl and rppl under KN5.
        distances: text of known quality → row → the row's RPPL at the text's FPPL, divided by the text's RPPL.
        comparisons: paired ratios of two rows under a judge, by decoding.
        tuning: row → the choice among its trials.
        signatures, environments: the different ones of figures, and of trials and runs.
        missing: parts of the experiment that are missing or out of date (other weights, settings or options).
    """

    name: str
    title: str
    corpus: str
    split: str
    rows: dict[str, RowResult]
    real: dict[str, dict[str, float]]
    known: dict[str, dict[str, float]]
    distances: dict[str, dict[str, SeedInterval | None]]
    comparisons: list[RowComparison]
    tuning: dict[str, Choice]
    signatures: list[str]
    environments: list[dict[str, Any]]
    missing: list[str]
    log: list[dict[str, Any]]

    def record(self) -> dict[str, Any]:
        """Return the results as plain values for JSON."""
        return asdict(self) | {"tuning": {name: choice.record() for name, choice in self.tuning.items()}}


def gather(experiment: Experiment, root: Path) -> Results:
    """Collect the results of the steps done so far.

    Only up-to-date results are used: a report on other weights or with other settings counts as missing, as does a run
    whose training failed, was stopped or has not ended.

    Raises:
        InputError: a run has other settings, or runs have different texts.
    """
    sources, log = Sources({}, {}, {}, []), Log(root / LOG)
    tuning = _tuned(experiment, root / TUNING)
    chosen = {name: choice.chosen for name, choice in tuning.items()}
    seeds = {row.name: _seeds(experiment, row, chosen, root, log, sources) for row in experiment.rows}
    trained = [seed.run for of_row in seeds.values() for seed in of_row if seed.run is not None]
    for run in trained[1:]:
        if text_of(run) != text_of(trained[0]):
            raise InputError(f"{trained[0]} and {run} were trained on different texts; they are no one table")
    trials = [Run(trial_directory(root, row, n)) for row in experiment.rows for n in row.trial_numbers]
    _add_environments([*trials, *trained], sources)
    points = {
        judge: {
            row.name: {seed.number: points_of(seed, judge, row, sources) for seed in seeds[row.name]}
            for row in experiment.rows
        }
        for judge in JUDGES
    }
    rows = {row.name: _row(row, seeds[row.name], points, sources) for row in experiment.rows}
    known = _known(experiment, root, log, trained, sources)
    return Results(
        name=experiment.name,
        title=experiment.title,
        corpus=experiment.corpus,
        split=experiment.split,
        rows=rows,
        real={
            kind: {name: figure.value for name, figure in _each(list(of_kind.values())).items()}
            for kind, of_kind in sources.real.items()
        },
        known=known,
        distances={
            text: {name: distance(figures, of_row) for name, of_row in points["kn5"].items()}
            for text, figures in known.items()
        },
        comparisons=[comparison(judge, pair, points[judge]) for pair in experiment.compare for judge in JUDGES],
        tuning=tuning,
        signatures=list(sources.signatures),
        environments=list(sources.environments.values()),
        missing=list(dict.fromkeys(sources.missing)),  # rows without models name a run of another row again
        log=log.entries(),
    )


def _tuned(experiment: Experiment, path: Path) -> dict[str, Choice]:
    """Return the choices that were made among the experiment's present trials."""
    found, trials = read_tuning(path) if path.is_file() else {}, experiment.trials
    return {name: choice for name, choice in found.items() if choice.is_among(trials.get(name, ()))}


def _seeds(
    experiment: Experiment, row: Row, chosen: Mapping[str, int], root: Path, log: Log, sources: Sources
) -> list[SeedRun]:
    """Return the successful runs of a row."""
    found = []
    source = experiment.source(row)
    for seed in experiment.seeds if row.samples is None else experiment.seeds[:1]:
        run = Run(run_directory(root, source, seed))
        if not experiment.is_settled(row, chosen) or not run.weights_file.is_file():
            sources.missing.append(run.name)
        elif not is_trained(run, log):
            last = log.last(f"{run.name} train")
            how = f"ended with status {last['status']}" if last and last["status"] else "has not ended"
            sources.missing.append(f"{run.name} (its training {how})")
        else:
            if row.samples is None:
                config = experiment.config(source, chosen, seed)
                require_same(run, config, init=init_of(experiment, source, root, seed))
            steps = {step.output.stem: step for step in reports_of(experiment, row, root, seed)}
            done = {name: step for name, step in steps.items() if step.is_done(log)}
            sources.missing += [steps[name].name for name in steps if name not in done]
            files = {name.removesuffix(row.suffix): step.output for name, step in done.items()}
            judged = {judge: Frontier.load(files[name]) for judge, name in JUDGES.items() if name in files}
            likelihood = Likelihood.load(files["likelihood"]) if "likelihood" in files else None
            found.append(SeedRun(seed, run if row.samples is None else None, judged, likelihood))
    return found


def _add_environments(runs: Sequence[Run], sources: Sources) -> None:
    """Collect the environments of the trials and runs that exist."""
    for run in runs:
        if run.environment_file.is_file():
            environment = run.environment
            git, packages = environment.get("git"), environment.get("packages")
            versioned = git is None or (
                isinstance(git, dict) and isinstance(git.get("commit"), str) and "changed" in git
            )
            if not (
                environment.keys() >= {*_NAMED} and versioned and isinstance(packages, dict) and "torch" in packages
            ):
                raise InputError(f"{run.environment_file} is damaged: it does not say what the run was trained with")
            kept = {key: environment[key] for key in _NAMED}
            sources.environments.setdefault(json.dumps(kept), kept | {"packages": packages})


def _row(
    row: Row, seeds: Sequence[SeedRun], points: Mapping[str, Mapping[str, Mapping[int, Points]]], sources: Sources
) -> RowResult:
    runs = [] if row.of else [seed.run for seed in seeds if seed.run is not None]
    validations = [last_validation(run) for run in runs]
    costs = [
        {"minutes": seconds_trained(run) / 60, "epochs": last[1]} for run, last in zip(runs, validations, strict=True)
    ]
    kn5, lstm = (_by_decoding(list(points[judge][row.name].values()), _judged) for judge in JUDGES)
    return RowResult(
        label=row.label,
        seeds=[seed.number for seed in seeds if row.trains or seed.judged or seed.likelihood],
        cost={"minutes": None, "epochs": None, **_each(costs)},
        validation=_each([figures for figures, _ in validations]),
        kn5=kn5,
        lstm=lstm,
        likelihood=_merged([likelihood_of(each.likelihood, sources) for each in seeds if each.likelihood]),
        meaning=_by_decoding([meaning_of(seed, row, sources) for seed in seeds], _merged),
        variety=_by_decoding([variety_of(seed, row, sources) for seed in seeds], _merged),
    )


def _by_decoding(seeds: Sequence[Mapping[str, T]], over_seeds: Callable[[list[T]], Figures]) -> ByDecoding:
    decodings = dict.fromkeys(decoding for seed in seeds for decoding in seed)
    return {decoding: over_seeds([seed[decoding] for seed in seeds if decoding in seed]) for decoding in decodings}


def _judged(seeds: Sequence[Mapping[str, float]]) -> Figures:
    return _each([{name: value for name, value in seed.items() if name != "frechet"} for seed in seeds])


def _known(
    experiment: Experiment, root: Path, log: Log, runs: Sequence[Run], sources: Sources
) -> dict[str, dict[str, float]]:
    """Return fppl and rppl of each text of known quality, from reports found through the first run."""
    found: dict[str, dict[str, float]] = {}
    for run in runs[:1]:
        for step, metric in zip(calibrations(experiment, run.path, root), METRICS, strict=True):
            if step.is_done(log):
                for row in Perplexity.load(step.output).calibration:
                    found.setdefault(row.text, {})[metric] = row.ppl
            else:
                sources.missing.append(step.name)
    return found


def _merged(seeds: Sequence[Figures]) -> Figures:
    """Return intervals over seeds; for a single seed, its own intervals, which are over sentences."""
    if len(seeds) == 1:
        return seeds[0]
    return _each([{name: interval.value for name, interval in figures.items()} for figures in seeds])


def _each(rows: Sequence[Mapping[str, float]]) -> Figures:
    """Return an interval of each figure over the rows that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {
        key: SeedInterval.over([row[key] for row in rows if key in row], _INTERVALS.get(key, mean_interval))
        for key in keys
    }
