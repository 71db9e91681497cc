"""Description of an experiment: its models, what is tuned, and how all models are judged.

A row is one kind of model. Its settings override those of all rows, which override its preset. Each of its trials
changes further settings, and the trial with the best score on validation text determines the row's configuration. A
trial may be shorter than a run: settings counted in epochs are then scaled down. A row `like` another has no trials: it
takes the chosen configuration of that row and changes only its own settings. Rows that `start` from another begin with
the generator of its run. Two kinds of rows train nothing: rows `of` another row decode the runs of that row in another
way, and rows with `samples` are texts of another system.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from lebm_text.checks import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Checked,
    each_of,
    file_name,
    hint,
    in_range,
    one_of,
    setting,
    whole,
)
from lebm_text.config import Config, by_key, by_section
from lebm_text.errors import InputError
from lebm_text.generation.samples import read_samples
from lebm_text.presets import preset
from lebm_text.reports.frontier import FrontierSettings
from lebm_text.reports.likelihood import LikelihoodSettings
from lebm_text.reports.perplexity import PerplexitySettings
from lebm_text.run_files import runs_directory
from lm_eval.protocol import METRICS

from .rows import ConfigChanges, Row, RowDecoding, check_start

__all__ = ["Experiment", "ReportSettings", "Tuning"]

ReportSettings: TypeAlias = FrontierSettings | PerplexitySettings | LikelihoodSettings

TRIAL_SEED = 1
# Settings counted in epochs: these may be fractions, those in _WHOLE_EPOCHS are whole numbers.
_IN_EPOCHS = (("inference", "anneal_epochs"), ("inference", "anneal_start_epoch"), ("training", "prior_start_epoch"))
_TEMPERATURES = MIN_TEMPERATURE, MAX_TEMPERATURE
_WHOLE_EPOCHS = (("inference", "pretrain_epochs"), ("training", "init_epochs"))


@dataclass(frozen=True)
class Tuning(Checked):
    """Settings of all trials.

    Attributes:
        n_epochs: epochs of a trial; None: as many as a run has.
        n_samples: number of samples that a trial is judged by.
    """

    n_epochs: int | None = setting(None, whole, 1)
    n_samples: int = setting(10_000, whole, 1)


@dataclass(frozen=True)
class Experiment(Checked):
    """An experiment.

    Attributes:
        name: of the experiment, used in the default name of its directory.
        title: heading of the results.
        corpus: name or directory of the corpus.
        seeds: random seeds of training; each row is trained once from each of them.
        rows: the models.
        settings: changes to the configuration of all rows.
        tuning: settings of all trials.
        n_samples: number of sentences generated for each decoding.
        temperatures: decoding temperatures for the n-gram judge, in addition to greedy decoding.
        fed: also compute embedding scores.
        diversity: also compute self-BLEU, and the share of n-grams that occur in the training text.
        lstm_seeds: those of `seeds` whose samples are also judged by an LSTM.
        lstm_temperatures: decoding temperatures for the LSTM judge.
        likelihood_seeds: those of `seeds` for whose runs a likelihood report is computed.
        likelihood: settings of that report; its `split` is the experiment's.
        compare: pairs of rows whose figures are compared seed by seed.
        split: the held-out text that runs are judged on; valid if choices will depend on the results.
    """

    name: str
    title: str
    corpus: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    settings: ConfigChanges = field(default_factory=dict)
    tuning: Tuning = field(default_factory=Tuning)
    n_samples: int = setting(10_000, whole, 1)
    temperatures: tuple[float, ...] = setting((1.0, 0.9, 0.8, 0.6), each_of, in_range, *_TEMPERATURES)
    fed: bool = False
    diversity: bool = False
    lstm_seeds: tuple[int, ...] = ()
    lstm_temperatures: tuple[float, ...] = setting((1.0,), each_of, in_range, *_TEMPERATURES)
    likelihood_seeds: tuple[int, ...] = ()
    likelihood: LikelihoodSettings = field(default_factory=LikelihoodSettings)
    compare: tuple[tuple[str, str], ...] = ()
    split: str = setting("test", one_of, ("test", "valid"))

    def row(self, name: str) -> Row:
        """Return the row of that name. Raises InputError if there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(f"unknown row {name!r}{hint(name, [row.name for row in self.rows])}")

    def trial(self, row: Row, number: int) -> Config:
        """Return the configuration of a row's trial; trials are numbered from 1."""
        values = self.config(row, {row.name: number}, TRIAL_SEED).to_dict()
        of_all = values["training"]["n_epochs"]
        n_epochs = self.tuning.n_epochs or of_all
        anneals = any(value is not None for key, value in values["inference"].items() if key.endswith("_start"))
        for section, key in _IN_EPOCHS:
            if anneals or section == "training":
                values[section][key] *= n_epochs / of_all
        for section, key in _WHOLE_EPOCHS:
            if before := values[section].get(key):
                values[section][key] = max(round(before * n_epochs / of_all), 1)
        values["training"]["n_epochs"] = n_epochs
        return Config.from_dict(values)

    def share(self, row: Row, number: int) -> float:
        """Return the share of a run's budget that a trial of the row gets, which is its share of the epochs."""
        whole = self.config(row, {row.name: number}, TRIAL_SEED)
        return self.trial(row, number).training.n_epochs / whole.training.n_epochs

    def config(self, row: Row, chosen: Mapping[str, int], seed: int) -> Config:
        """Return the configuration of a row's run from one seed.

        `chosen` has the number of the chosen trial of each row that has trials.
        """
        if row.like is None:
            trial = row.trials[chosen[row.name] - 1] if row.trials else {}
            settings = by_key(self.settings) | by_key(row.settings) | by_key(trial) | {"training.seed": seed}
            return preset(row.preset).merge(by_section(settings))
        # Settings that the configured components do not use return to their defaults.
        values = self.config(self.row(row.like), chosen, seed).to_dict()
        return Config.from_dict(by_section(by_key(values) | by_key(row.settings)))

    def start_of(self, row: Row) -> Row | None:
        """Return the row that provides the initial weights of a row's generator, if any."""
        name = row.start if row.like is None else self.row(row.like).start
        return None if name is None else self.row(name)

    def is_settled(self, row: Row, chosen: Mapping[str, int]) -> bool:
        """Return whether a row's configuration is known: a trial is chosen for it and for the rows that it needs."""
        return (not row.trials or row.name in chosen) and all(
            self.is_settled(self.row(name), chosen) for name in row.needs
        )

    @property
    def first(self) -> Row:
        """The first row that trains and needs no other; the real text is found through its run."""
        return next(row for row in self.rows if row.trains and not row.needs)

    def source(self, row: Row) -> Row:
        """Return the row whose runs are judged, or, for samples, the row through whose run the real text is found."""
        if row.samples is not None:
            return self.first
        return row if row.of is None else self.row(row.of)

    def generations(self) -> list[list[Row]]:
        """Return the rows in groups, so that a row is in a later group than the row that it starts from."""
        depth = {row.name: self._depth(row) for row in self.rows}
        return [[row for row in self.rows if depth[row.name] == n] for n in range(1 + max(depth.values()))]

    def _depth(self, row: Row) -> int:
        return max((self._depth(self.row(name)) + (name == row.start) for name in row.needs), default=0)

    @property
    def trials(self) -> dict[str, tuple[ConfigChanges, ...]]:
        """The changes of the trials, by row, for rows that have trials."""
        return {row.name: row.trials for row in self.rows if row.trials}

    @property
    def directory(self) -> Path:
        """The default directory of the experiment, in the directory of all runs."""
        return runs_directory() / f"{self.name}-{Path(self.corpus).resolve().name}"

    def describe(self, root: Path, budget: float | None, n_jobs: int, *, tuned: bool) -> list[str]:
        """Return lines of text on what will be done and the total budget; `budget` is in minutes of training per run.

        If `tuned`, all choices are made, so that no trials are needed.
        """
        trials = [(row, n) for row in self.rows for n in row.trial_numbers if not tuned]
        n_runs, seeds = sum(row.trains for row in self.rows) * len(self.seeds), ", ".join(map(str, self.seeds))
        lines = [
            f"{self.title}: corpus {self.corpus}, rows {', '.join(row.name for row in self.rows)}",
            f"{len(trials)} trials, then {n_runs} runs (seeds {seeds}), in {root}",
        ]
        if budget is None:
            return [*lines, "no --budget-minutes: every row is trained for all of its epochs"]
        hours = budget * (n_runs + sum(self.share(row, number) for row, number in trials)) / 60
        return [
            *lines,
            f"training takes at most {hours:.1f} h of processes ({budget:g} minutes a run)"
            + (f", {n_jobs} at a time: {hours / n_jobs:.1f} h if none waits for another" if n_jobs > 1 else "")
            + "; judging comes on top",
        ]

    def narrowed(
        self,
        *,
        corpus: str | None = None,
        seeds: Sequence[int] = (),
        rows: Sequence[str] = (),
        skip: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Experiment:
        """Return the experiment with another corpus, other seeds, some rows only, or without the judges in `skip`.

        Rows that a chosen row needs are kept, too.

        Args:
            corpus: replaces the experiment's; None: no change.
            seeds: replace the experiment's; empty: no change.
            rows: names of the rows to keep; empty: all.
            skip: lstm, likelihood or fed.
            settings: changes to all rows that train, applied before those of their trials; a row `like` another has
                them from that row, as it has everything that it does not set itself.

        Raises:
            InputError: a row is unknown, or settings contradict each other.
        """
        wanted = [self.row(name) for name in rows] or list(self.rows)
        for row in wanted:  # extended during the loop
            wanted += [self.row(name) for name in row.needs]
        if not any(row.trains for row in wanted):  # the real text of samples is found through a run
            wanted.append(self.first)
        kept = tuple(row for row in self.rows if row in wanted)
        names = {row.name for row in kept}
        if settings:
            kept = tuple(row.changed(by_key(settings)) if row.trains else row for row in kept)
        seeds = tuple(dict.fromkeys(seeds)) or self.seeds  # a repeated seed is still one run

        def left(judge: str, of_judge: Sequence[int]) -> tuple[int, ...]:
            return () if judge in skip else tuple(seed for seed in of_judge if seed in seeds)

        narrowed = dataclasses.replace(
            self,
            corpus=corpus or self.corpus,
            seeds=seeds,
            rows=kept,
            fed=self.fed and "fed" not in skip,
            lstm_seeds=left("lstm", self.lstm_seeds),
            likelihood_seeds=left("likelihood", self.likelihood_seeds),
            compare=tuple(pair for pair in self.compare if names.issuperset(pair)),
        )
        if narrowed != self:
            narrowed._check_settings()  # the samples are those that were checked before
        return narrowed

    def report_settings(self, row: Row, seed: int) -> dict[str, ReportSettings]:
        """Return the settings of the reports on a row's run from a seed, or on its samples, by name, cheapest first."""
        sampled, at = row.samples is None, self.temperatures
        frontier = FrontierSettings(
            lm="kn5",
            split=self.split,
            n=self.n_samples,
            temperatures=at if sampled else (),
            seeds=(seed,),
            greedy=row.trains,
            fed=self.fed,
            diversity=self.diversity,
            **vars(row.decoding),
        )
        found: dict[str, ReportSettings] = {"frontier": frontier}
        if row.trains and seed in self.likelihood_seeds:
            found["likelihood"] = dataclasses.replace(self.likelihood, split=self.split)
        if row.of is None and seed in self.lstm_seeds:
            at = self.lstm_temperatures if sampled else ()
            found["lstm"] = dataclasses.replace(
                frontier, lm="lstm", temperatures=at, greedy=False, fed=False, diversity=False
            )
        return found

    def trial_settings(self) -> FrontierSettings:
        """Return the settings of the reports on trials, on validation text."""
        n, temperatures = self.tuning.n_samples, self.temperatures
        return FrontierSettings(lm="kn5", split="valid", n=n, temperatures=temperatures, greedy=False)

    def calibration_settings(self) -> dict[str, PerplexitySettings]:
        """Return the settings of the reports on texts of known quality, by metric, with `n_samples` sentences each."""
        how: dict[str, Any] = {"lm": "kn5", "split": self.split, "n": self.n_samples, "temperatures": (1.0,)}
        return {metric: PerplexitySettings(metric=metric, **how, calibrate=True) for metric in METRICS}

    def check(self) -> None:
        """Check the experiment: build all configurations and report settings, so that errors show before training.

        Texts of rows with samples are read to see whether they suffice.

        Raises:
            InputError: the first mistake found.
        """
        self._check_settings()
        for row in self.rows:
            if row.samples is None:
                continue
            try:
                if not Path(row.samples).is_file():
                    raise InputError(f"there is no file {row.samples}")
                read_samples(Path(row.samples), self.n_samples)
            except InputError as error:
                raise InputError(f"row {row.name}: {error}") from None

    def _check_settings(self) -> None:
        rows, names = self.rows, [row.name for row in self.rows]
        if not any(row.trains for row in rows) or not self.seeds:
            raise InputError("an experiment needs at least one row that trains and one seed")
        file_name("name", self.name)
        for name in names:
            file_name("a row's name", name)
        for of_judge in ("lstm_seeds", "likelihood_seeds"):
            for seed in getattr(self, of_judge):
                if seed not in self.seeds:
                    raise InputError(f"{of_judge} has the seed {seed}, which is none of seeds")
        for of_judge in ("temperatures", "lstm_temperatures"):
            if not getattr(self, of_judge):
                raise InputError(f"{of_judge} has to name one at least")
        for of_all in ("split", "device"):
            if getattr(self.likelihood, of_all) != getattr(LikelihoodSettings(), of_all):
                raise InputError(f"likelihood.{of_all} is that of the whole experiment: leave it out")
        for what, of_rows in (("name", names), ("label", [row.label for row in rows])):
            if len(set(of_rows)) < len(rows):
                raise InputError(f"two rows have the same {what}")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError("a seed is named twice in seeds")
        for row in rows:
            if any("training.seed" in by_key(values) for values in (self.settings, row.settings, *row.trials)):
                raise InputError(f"row {row.name}: training.seed is one of seeds (--seed): leave it out")
            if not (row.label.strip() and row.label.isprintable()):
                raise InputError(f"row {row.name}: label must be a name on one line, got {row.label!r}")
            _check_needs(self, row)
        n_trials = {row.name: len(row.trials) for row in rows if row.like is None and row.trains}
        if len(set(n_trials.values())) > 1:
            counts = ", ".join(f"{name} {n}" for name, n in n_trials.items())
            raise InputError(f"every row needs the same number of trials, here are: {counts}")
        for name in {name for pair in self.compare for name in pair}:
            self.row(name)
        for row in rows:
            try:
                for seed in self.seeds:
                    self.report_settings(row, seed)
                for number in (numbers := range(1, 1 + max(1, *n_trials.values()))):
                    self._check_trial(row, number)
                if (start := self.start_of(row)) is not None:
                    for mine, theirs in product(numbers, numbers):
                        check_start(self._with_trial(row, mine), self._with_trial(start, theirs), start.name)
            except InputError as error:
                raise InputError(f"row {row.name}: {error}") from None

    def _check_trial(self, row: Row, number: int) -> None:
        """Build a row's configurations, with the given trial chosen for all rows."""
        if row.trials:
            self.trial(row, number)
        if row.samples is None:
            row.decoding.check(self._with_trial(self.source(row), number).with_plugins())

    def _with_trial(self, row: Row, number: int) -> Config:
        return self.config(row, dict.fromkeys((row.name for row in self.rows), number), self.seeds[0])


def _check_needs(experiment: Experiment, row: Row) -> None:
    """Raise InputError unless the rows that a row depends on exist and are compatible with its own settings."""
    if row.like is not None and (row.trials or row.start or experiment.row(row.like).like is not None):
        raise InputError(f"row {row.name} is like {row.like}, so it has no trials and no start, and {row.like} no like")
    if not row.trains and (row.trials or row.settings or row.like or row.start or (row.of and row.samples)):
        raise InputError(f"row {row.name} trains nothing: beside its label it has `of` and `decoding`, or `samples`")
    if row.decoding != RowDecoding() and row.of is None:
        raise InputError(f"row {row.name} has a decoding, which is for a row `of` another")
    for name in row.needs:
        if not experiment.row(name).trains:
            raise InputError(f"row {row.name} needs {name}, which trains nothing")
    needed = list(row.needs)
    for name in needed:  # extended during the loop
        needed += [other for other in experiment.row(name).needs if other not in needed]
    if row.name in needed:
        raise InputError(f"row {row.name} needs itself, by way of {', '.join(row.needs)}")
    if experiment.start_of(row) is not None and any(
        "training.init" in by_key(values) for values in (row.settings, *row.trials)
    ):
        raise InputError(f"row {row.name} starts from another: leave out training.init")
