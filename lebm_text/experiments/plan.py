"""An experiment as data: which models, what is tuned, how all are judged; read from TOML.

A row is one kind of model. Its settings stand on those of all rows, which stand on its preset; each of its trials
changes some more, and the trial that does best on validation text decides for the row. A trial may be shorter than a
run: settings that are counted in epochs are shortened with it. A row `like` another has no trials: it takes that row's
configuration as chosen and changes its own settings alone.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lebm_text.checks import at_least, hint, one_of, positive, typed
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.presets import preset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Experiment", "Row", "Tuning", "builtin_experiments", "read_experiment"]

Settings = Mapping[str, Any]  # "section.key" → value

TRIAL_SEED = 1
_HERE = Path(__file__).parent
# Settings that are counted in epochs and may be fractions; those of encoders' pretraining are whole.
_IN_EPOCHS = (("inference", "anneal_epochs"), ("inference", "anneal_start_epoch"), ("training", "prior_start_epoch"))


@dataclass(frozen=True)
class Row:
    """One kind of model: its preset, what it changes of it, and what is tried."""

    name: str
    label: str
    preset: str
    settings: Settings = field(default_factory=dict)
    trials: tuple[Settings, ...] = ()
    like: str | None = None


@dataclass(frozen=True)
class Tuning:
    """What trials have in common: their epochs (None: as many as a run), and how many samples they are judged by."""

    n_epochs: int | None = None
    n_samples: int = 10_000


@dataclass(frozen=True)
class Experiment:
    """Rows and how they are judged.

    Attributes:
        corpus: its name or directory.
        seeds: of training; a row is trained once from each.
        n_samples: that are generated for each decoding.
        temperatures: at which the n-gram judge reads all rows; greedy decoding besides.
        lstm_seeds: of `seeds`, those whose samples at T = 1 an LSTM judge reads.
        likelihood_seeds: of `seeds`, those of whose runs `lebm-text likelihood` is asked.
        likelihood: its options, without dashes.
        compare: (row, row) whose figures are compared seed by seed.
        split: the held-out text that runs are judged on; valid for what choices will follow from.
    """

    name: str
    title: str
    corpus: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    settings: Settings = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)
    n_samples: int = 10_000
    temperatures: tuple[float, ...] = (1.0, 0.9, 0.8, 0.6)
    lstm_seeds: tuple[int, ...] = ()
    likelihood_seeds: tuple[int, ...] = ()
    likelihood: Settings = field(default_factory=dict)
    compare: tuple[tuple[str, str], ...] = ()
    split: str = "test"

    def row(self, name: str) -> Row:
        """Raises InputError if there is no row of that name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(f"unknown row {name!r}{hint(name, [row.name for row in self.rows])}")

    def trial(self, row: Row, number: int) -> Config:
        """The configuration of a row's trial, counted from 1."""
        values = self.config(row, {row.name: number}, TRIAL_SEED).to_dict()
        of_all = values["training"]["n_epochs"]
        n_epochs = self.tuning.n_epochs or of_all
        anneals = any(value is not None for key, value in values["inference"].items() if key.endswith("_start"))
        for section, key in _IN_EPOCHS:
            if anneals or section == "training":
                values[section][key] *= n_epochs / of_all
        if pretrained := values["inference"].get("pretrain_epochs"):
            values["inference"]["pretrain_epochs"] = max(round(pretrained * n_epochs / of_all), 1)
        values["training"]["n_epochs"] = n_epochs
        return Config.from_dict(values)

    def share(self, row: Row, number: int) -> float:
        """Of a run's budget that its trial may take: that of the epochs."""
        whole = self.config(row, {row.name: number}, TRIAL_SEED)
        return self.trial(row, number).training.n_epochs / whole.training.n_epochs

    def config(self, row: Row, chosen: Mapping[str, int], seed: int) -> Config:
        """The configuration of a row's run from one seed; `chosen`: the trial of each row that has several."""
        if row.like is None:
            trial = row.trials[chosen[row.name] - 1] if row.trials else {}
            return _config(row.preset, {**self.settings, **row.settings, **trial, "training.seed": seed})
        # Not asked for one by one: what the other kind does not read returns to its default.
        values = self.config(self.row(row.like), chosen, seed).to_dict()
        for path, value in row.settings.items():
            section, _, key = path.partition(".")
            values.setdefault(section, {})[key] = value
        return Config.from_dict(values)

    def is_settled(self, row: Row, chosen: Mapping[str, int]) -> bool:
        """Whether all is known of a row's configuration: it has no trials, or one of them is chosen."""
        tuned = row if row.like is None else self.row(row.like)
        return not tuned.trials or tuned.name in chosen

    def narrowed(
        self,
        *,
        corpus: str | None = None,
        seeds: Sequence[int] = (),
        rows: Sequence[str] = (),
        skip: Sequence[str] = (),
    ) -> Experiment:
        """With another corpus, other seeds, some rows only, or without the judges in `skip` (lstm, likelihood).

        Rows that a chosen row is like come along. Raises InputError for rows that there are not.
        """
        wanted = [self.row(name) for name in rows] or list(self.rows)
        wanted += [self.row(row.like) for row in wanted if row.like is not None]
        kept = tuple(row for row in self.rows if row in wanted)
        names = {row.name for row in kept}
        seeds = tuple(dict.fromkeys(seeds)) or self.seeds  # one asked for twice is still one run
        lstm_seeds, likelihood_seeds = (
            () if judge in skip else tuple(seed for seed in of_judge if seed in seeds)
            for judge, of_judge in (("lstm", self.lstm_seeds), ("likelihood", self.likelihood_seeds))
        )
        return dataclasses.replace(
            self,
            corpus=corpus or self.corpus,
            seeds=seeds,
            rows=kept,
            lstm_seeds=lstm_seeds,
            likelihood_seeds=likelihood_seeds,
            compare=tuple(pair for pair in self.compare if names.issuperset(pair)),
        )


def builtin_experiments() -> dict[str, Path]:
    """Name → file of the experiments that come with the package."""
    return {path.stem: path for path in sorted(_HERE.glob("*.toml"))}


def read_experiment(name_or_file: str) -> Experiment:
    """One of the package by name, or any TOML file. Raises InputError for what cannot be read or makes no sense."""
    known = builtin_experiments()
    path = known.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        raise InputError(f"unknown experiment {name_or_file!r}{hint(name_or_file, list(known))}; or give a TOML file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the experiment {path}: {error}") from None
    try:
        experiment = _experiment(path, values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not of the form of an experiment ({error})") from None
    _check(path, experiment)
    return experiment


def _experiment(path: Path, values: dict[str, Any]) -> Experiment:
    rows = tuple(_row(path, row) for row in values.pop("rows", []))
    tuning = _build(Tuning, path, values.pop("tuning", {}), "[tuning]")
    values = {"name": path.stem, **values, "rows": rows, "tuning": tuning}
    kinds: Mapping[str, Callable[[Any], Any]] = {
        "seeds": tuple,
        "lstm_seeds": tuple,
        "likelihood_seeds": tuple,
        "temperatures": _floats,
        "settings": dict,
        "likelihood": dict,
    }
    values |= {key: kind(values[key]) for key, kind in kinds.items() if key in values}
    values["compare"] = tuple((first, second) for first, second in values.get("compare", []))
    found: Experiment = _build(Experiment, path, values, "the top level")
    return found


def _row(path: Path, values: dict[str, Any]) -> Row:
    trials = tuple(dict(trial) for trial in values.get("trials", ()))
    row: Row = _build(Row, path, {**values, "settings": dict(values.get("settings", {})), "trials": trials}, "[[rows]]")
    return row


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _build(kind: Any, path: Path, values: dict[str, Any], where: str) -> Any:
    names = [item.name for item in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            raise InputError(f"{path}: unknown key {key!r} in {where}; known: {', '.join(names)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{path}: {where}: {str(error).partition('() ')[2] or error}") from None


def _check(path: Path, experiment: Experiment) -> None:
    """Make every configuration once, so that a mistake in the last row does not show after a day."""
    if not experiment.rows or not experiment.seeds:
        raise InputError(f"{path}: an experiment needs at least one row and one seed")
    try:
        one_of("split", experiment.split, ("test", "valid"))
        for name, value in (("n_samples", experiment.n_samples), ("tuning.n_samples", experiment.tuning.n_samples)):
            at_least(name, typed(name, value, "int"), 1)
        for name in ("seeds", "lstm_seeds", "likelihood_seeds"):
            for seed in getattr(experiment, name):
                at_least(name, typed(name, seed, "int"), 0)
        for temperature in experiment.temperatures:
            positive("temperatures", typed("temperatures", temperature, "float"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    rows = experiment.rows
    for what, of_rows in (("name", [row.name for row in rows]), ("label", [row.label for row in rows])):
        if len(set(of_rows)) < len(rows):
            raise InputError(f"{path}: two rows have the same {what}")
    if len(set(experiment.seeds)) < len(experiment.seeds):
        raise InputError(f"{path}: a seed is named twice in seeds")
    n_trials = {row.name: len(row.trials) for row in rows if row.like is None}
    if len(set(n_trials.values())) > 1:
        counts = ", ".join(f"{name} {n}" for name, n in n_trials.items())
        raise InputError(f"{path}: every row needs the same number of trials, here are: {counts}")
    for name in {name for pair in experiment.compare for name in pair}:
        experiment.row(name)
    for row in experiment.rows:
        if row.like is not None and (row.trials or experiment.row(row.like).like is not None):
            raise InputError(f"{path}: row {row.name} is like {row.like}, so it has no trials, and {row.like} no like")
        try:
            for number in range(1, len(row.trials) + 1):
                experiment.trial(row, number)
                experiment.config(row, {row.name: number}, experiment.seeds[0])
            if row.like is not None:
                experiment.config(row, {row.like: 1}, experiment.seeds[0])
        except InputError as error:
            raise InputError(f"{path}: row {row.name}: {error}") from None


def _config(name: str, settings: Settings) -> Config:
    changes: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        section, _, key = path.partition(".")
        changes.setdefault(section, {})[key] = value
    return preset(name).merge(changes)
