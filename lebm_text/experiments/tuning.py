"""Choice among the trials of a row, by the same rule for all rows, on validation text only.

    score = min over the frontier of sqrt(max(FPPL, FPPL of real text) · RPPL)   (temperatures, 5-gram judge)

Both perplexities are used, since a bad model can have a low value of either: FPPL by repeating itself, RPPL by mixing
good sentences with any number of bad ones. The whole frontier is used, since temperature trades one for the other, and
a single temperature would favour the trial whose trade-off happens to fit it. An FPPL below that of real text does not
improve the score, so that the minimum is usually where FPPL equals that of real text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lebm_text.checks import from_plain
from lebm_text.errors import InputError
from lebm_text.metrics import figures_of
from lebm_text.reports.frontier import Frontier
from lebm_text.run import Run
from lebm_text.store import read_json

from .statistics import at_fppl

__all__ = ["Choice", "Trial", "choose", "last_validation", "read_choices", "read_tuning", "seconds_trained"]


@dataclass(frozen=True)
class Trial:
    """Changes and results of one trial, on validation text.

    Attributes:
        settings: the trial's changes to the configuration.
        fppl, rppl: of the point of the frontier with the least score.
        score: see the module.
        seconds: duration of the updates.
        last: figures of the last validation in training.
        frontier: temperature, fppl and rppl of each judged decoding; empty in some old files.
    """

    settings: dict[str, Any]
    fppl: float
    rppl: float
    score: float
    epochs: float
    seconds: float
    last: dict[str, float]
    frontier: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """The choice among a row's trials.

    Attributes:
        chosen: number of the trial with the least score, from 1.
        source: the tuning.json of another experiment that the choice was taken from, if any.
    """

    chosen: int
    trials: tuple[Trial, ...]
    source: str | None = None

    def is_among(self, settings: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the choice was made among trials with these settings, in this order."""
        return [trial.settings for trial in self.trials] == [dict(changed) for changed in settings]

    def record(self) -> dict[str, Any]:
        """Return the choice as plain values for JSON."""
        source = {} if self.source is None else {"from": self.source}
        return {"chosen": self.chosen, "trials": [asdict(trial) for trial in self.trials], **source}


def choose(runs: Sequence[Run], settings: Sequence[Mapping[str, Any]]) -> Choice:
    """Choose among the trials in `runs`, each of which has a report eval/tuning.json."""
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
    """Read the choices of another experiment, such as one on another corpus, by row, and record their source.

    Args:
        path: its tuning.json.
        trials: row → settings of its trials, for all rows that need a choice.

    Raises:
        InputError: a row is missing or was chosen among other trials, or as raised by `read_tuning`.
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
    """Return the choice that `Choice.record` turned into plain values."""
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

    Between two judged points the score is linear in logarithms, except for a kink where FPPL equals that of real text;
    it is therefore enough to look at the judged points and the kink.
    """
    points = [(point["fppl"], point["rppl"]) for point in frontier]
    if (at_real := at_fppl(real, points)) is not None:
        points.append((real, at_real))
    return min((math.sqrt(max(fppl, real) * rppl), fppl, rppl) for fppl, rppl in points)


def last_validation(run: Run) -> tuple[dict[str, float], float]:
    """Return the last `valid_*` metrics of a run and its number of epochs."""
    found: dict[str, float] = {}
    epochs = 0.0
    for row in map(figures_of, run.metrics()):
        epochs = max(epochs, float(row.get("epoch", 0.0)))
        found = {key: value for key, value in row.items() if key.startswith("valid_")} or found
    return found, epochs


def seconds_trained(run: Run) -> float:
    """Return the duration, in seconds, of a run's updates up to its last checkpoint."""
    return float(figures_of(run.progress()).get("seconds", 0.0))
