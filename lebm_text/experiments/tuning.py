"""Choice among a row's trials: one rule for all rows, on validation text alone.

    score = least of sqrt(max(FPPL, that of real text) · RPPL)   along the frontier over temperatures, 5-gram judge

Both are used, since a bad model can make either small alone: FPPL by repeating itself, RPPL by
mixing good sentences with any number of bad ones. The whole frontier is used, since temperature trades one for the
other: at a single temperature the trial would win whose trade-off happens to fit there. An FPPL below that of real text
is no merit, so that the minimum is mostly where the two are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lebm_text.checks import from_plain
from lebm_text.errors import InputError
from lebm_text.reports.frontier import Frontier
from lebm_text.run import Run
from lebm_text.store import read_json

from .statistics import rppl_at

__all__ = ["Choice", "Trial", "choose", "last_validation", "read_choices", "read_tuning", "seconds_trained"]


@dataclass(frozen=True)
class Trial:
    """Changes and results of one trial, on validation text.

    `frontier`: temperature, fppl and rppl of what was judged; `score` as above, with its `fppl` and `rppl`.
    """

    settings: dict[str, Any]
    fppl: float
    rppl: float
    score: float
    epochs: float
    seconds: float
    last: dict[str, float]  # figures of the last validation in training
    frontier: list[dict[str, float]] = field(default_factory=list)  # some stored tables lack it


@dataclass(frozen=True)
class Choice:
    """A row's trials in order, and the number of the one with the least score, counted from 1.

    `source`: the tuning.json of another experiment from which the choice was taken.
    """

    chosen: int
    trials: tuple[Trial, ...]
    source: str | None = None

    def is_among(self, settings: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether it was made among trials of these settings, in this order."""
        return [trial.settings for trial in self.trials] == [dict(changed) for changed in settings]

    def record(self) -> dict[str, Any]:
        """Return the choice as plain values for JSON."""
        source = {} if self.source is None else {"from": self.source}
        return {"chosen": self.chosen, "trials": [asdict(trial) for trial in self.trials], **source}


def choose(runs: Sequence[Run], settings: Sequence[Mapping[str, Any]]) -> Choice:
    """Choose among the trials in `runs`, each with its eval/tuning.json."""
    trials = tuple(_trial(run, changed) for run, changed in zip(runs, settings, strict=True))
    best = min(range(len(trials)), key=lambda index: trials[index].score)
    return Choice(best + 1, trials)


def read_tuning(path: Path) -> dict[str, Choice]:
    """Read the choices in a tuning.json, by row. Raises InputError if the file cannot be read or is damaged."""
    record = read_json(path)
    try:
        return {name: _read(name, plain) for name, plain in record.items()}
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def read_choices(path: Path, trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Choice]:
    """Read the choices made on another corpus, by row, and record their source.

    `trials`: those of the required rows. Raises InputError if a row is missing or was chosen among other trials,
    and as `read_tuning` does.
    """
    known, found = read_tuning(path), {}
    for name, settings in trials.items():
        if name not in known:
            raise InputError(f"{path} has no choice for row {name}")
        if not known[name].is_among(settings):
            tried = [trial.settings for trial in known[name].trials]
            raise InputError(f"{path} chose among other trials of row {name} than this experiment has: {tried}")
        found[name] = replace(known[name], source=str(path))
    return found


def _read(name: str, plain: object) -> Choice:
    """Restore what `Choice.record` returned."""
    if isinstance(plain, Mapping):
        plain = {**plain, "source": plain.get("from")}
    choice = from_plain(Choice, plain, name)
    if not 1 <= choice.chosen <= len(choice.trials):
        raise InputError(f"row {name} has no trial {choice.chosen}")
    return choice


def _trial(run: Run, changed: Mapping[str, Any]) -> Trial:
    report = Frontier.load(run.report_file("tuning"))
    frontier = [
        {"temperature": point.temperature or 1.0, "fppl": point.fppl, "rppl": point.rppl} for point in report.points
    ]
    score, fppl, rppl = _least(frontier, report.real[0].ppl)
    last, epochs = last_validation(run)
    return Trial(dict(changed), fppl, rppl, score, epochs, seconds_trained(run), last, frontier)


def _least(frontier: Sequence[Mapping[str, float]], real: float) -> tuple[float, float, float]:
    """Return the least score with its FPPL and RPPL.

    In logarithms the score is linear between two judged points except for a bend where FPPL is that of real text.
    """
    points = [(point["fppl"], point["rppl"]) for point in frontier]
    if (at_real := rppl_at(real, points)) is not None:
        points.append((real, at_real))
    return min((math.sqrt(max(fppl, real) * rppl), fppl, rppl) for fppl, rppl in points)


def last_validation(run: Run) -> tuple[dict[str, float], float]:
    """Return the last `valid_*` figures of a run and its number of epochs."""
    found: dict[str, float] = {}
    epochs = 0.0
    for row in run.metrics():
        epochs = max(epochs, float(row.get("epoch", 0.0)))
        found = {key: value for key, value in row.items() if key.startswith("valid_")} or found
    return found, epochs


def seconds_trained(run: Run) -> float:
    """Return the seconds that a run's updates have taken up to its last checkpoint."""
    return float(run.progress().get("seconds", 0.0))
