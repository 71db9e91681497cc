"""Running an experiment: tune on validation text, train every row from every seed, and judge.

With one job, steps run in this process, otherwise in worker processes. Completed steps are not repeated, so that an
experiment can be interrupted and continued.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path

from lebm_text.errors import InputError
from lebm_text.progress import Progress, adder, silent
from lebm_text.run import Run
from lebm_text.store import atomic_write_json
from lebm_text.text.corpora import find_corpus
from lebm_text.threads import default_threads

from .plan import Experiment
from .pool import Outcome, Pool, block_signals, outcome
from .rows import Row
from .steps import (
    Log,
    ReportStep,
    Step,
    Training,
    calibrations,
    init_of,
    reports_of,
    require_same,
    run_directory,
    trial_directory,
)
from .tuning import Choice, choose, read_tuning

__all__ = ["LOG", "TUNING", "Failure", "Runner"]

logger = logging.getLogger(__name__)

TUNING, LOG = "tuning.json", "log.jsonl"


@dataclass(frozen=True)
class Failure:
    """A step that failed: its name, exit status and message."""

    step: str
    status: int
    message: str


@dataclass
class Runner:
    """Runs an experiment.

    Attributes:
        root: the directory of the experiment.
        budget: minutes of training per run; a trial gets a share by its number of epochs. None: no limit.
        n_jobs: number of steps that run at the same time; the processors are divided among them.
        n_threads: CPU threads of each step. None: OMP_NUM_THREADS, or a step's share of the processors.
        data_dir: where to look for the corpus first.
        corpus: sha256 by split; runs on another text are refused. None: those of the experiment's corpus.
        device: auto, cpu or cuda.
        on_progress: called with the progress of all steps and, with one job, of each step.
        should_stop: polled; once it returns true, trainings write a checkpoint and stop.
    """

    experiment: Experiment
    root: Path
    _: KW_ONLY
    budget: float | None = None
    n_jobs: int = 1
    n_threads: int | None = None
    data_dir: Path | None = None
    corpus: Mapping[str, str] | None = None
    device: str = "auto"
    on_progress: Progress = silent
    should_stop: Callable[[], bool] = lambda: False
    failures: list[Failure] = field(default_factory=list, init=False)
    _pool: Pool | None = field(default=None, init=False)
    _broken_off: bool = field(default=False, init=False)
    _add: Callable[[int], None] = field(default=lambda more: None, init=False)

    def __post_init__(self) -> None:
        self.log = Log(self.root / LOG)
        self.threads = self.n_threads or default_threads(self.n_jobs)

    def carry_out(self, choices: Mapping[str, Choice] | None = None) -> list[Failure]:
        """Carry out all steps that are not done: tune, train and judge all rows, in the order of their dependencies.

        Args:
            choices: replace the trials, such as choices made on another corpus; see `read_choices`.

        Returns:
            The steps that failed.

        Raises:
            InputError: the corpus is unknown, there are runs with other settings, or there are too many jobs.
            KeyboardInterrupt: `should_stop` returned true, and all steps have ended.
        """
        self._prepare()
        self._known_steps(choices)  # runs of other settings are refused before any work
        try:
            chosen: dict[str, int] = {} if choices is None else self.adopt(choices)
            judgements: list[list[Step]] = []  # reports on earlier rows; later rows train without waiting for them
            *earlier, last = self.experiment.generations()
            for rows in earlier:
                chosen |= self.tune(rows) if choices is None else {}
                chains = self.chains(chosen, rows)
                if self.n_jobs == 1:
                    self._carry_out("steps of runs", chains)
                    continue
                self._carry_out("trainings", [chain[:1] for chain in chains] + judgements)
                judgements = [chain[1:] for chain in chains if chain[0].is_done(self.log)]
            chosen |= self.tune(last) if choices is None else {}
            self._carry_out("steps of runs", self.chains(chosen, last) + judgements)
        except KeyboardInterrupt:
            logger.info("stopped; the same command goes on")
            raise
        return self.failures

    def progress(self, choices: Mapping[str, Choice] | None = None) -> tuple[int, int]:
        """Return how many of the steps that are known so far are done, and their number; nothing is changed.

        Steps of rows whose trial is not chosen yet are not known.

        Raises:
            InputError: as `carry_out` does for runs of other settings, the number of jobs, and the directory.
        """
        self._check()
        steps = self._known_steps(choices)
        return sum(step.is_done(self.log) for step in steps), len(steps)

    def _known_steps(self, choices: Mapping[str, Choice] | None) -> list[Step]:
        """Return the steps of all trials, unless there are `choices`, and of the runs whose trial is chosen."""
        rows, steps = self.experiment.rows, list[Step]()
        if choices is None:
            steps += [step for row in rows for number in row.trial_numbers for step in self.trial_steps(row, number)]
            choices = self._choose(rows)
        chosen = {name: choice.chosen for name, choice in choices.items()}
        return steps + [step for row, seed in self._runs(chosen, rows) for step in self.run_steps(row, chosen, seed)]

    def _prepare(self) -> None:
        """Find the corpus, and make the directory."""
        self._check()
        if self.corpus is None:
            corpus = find_corpus(self.experiment.corpus, data_dir=self.data_dir, trust_plugins=False)
            self.corpus = {name: split.sha256 for name, split in corpus.splits.items()}
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / LOG).touch()

    def _check(self) -> None:
        """Raise InputError for too many jobs, and for a directory that holds something else."""
        if self.n_jobs > (os.cpu_count() or 1):
            raise InputError(f"{self.n_jobs} jobs at a time are more than this machine's {os.cpu_count()} processors")
        if self.root.is_dir() and any(self.root.iterdir()) and not (self.root / LOG).is_file():
            raise InputError(f"{self.root} is neither empty nor an experiment's; choose another directory (--out)")

    def tune(self, rows: Sequence[Row] | None = None) -> dict[str, int]:
        """Carry out the trials of some rows (None: all), write tuning.json, and return each row's chosen trial.

        A row with a trial that could not be finished and judged is left out.
        """
        rows = self.experiment.rows if rows is None else rows
        trials = [self.trial_steps(row, number) for row in rows for number in row.trial_numbers]
        self._carry_out("steps of trials", trials)
        return self.adopt(self._choose(rows))

    def _choose(self, rows: Sequence[Row]) -> dict[str, Choice]:
        """Choose among the trials of some rows; a row with a trial that is not done is left out."""
        choices = {}
        for row in rows:
            steps = [step for number in row.trial_numbers for step in self.trial_steps(row, number)]
            if steps and all(step.is_done(self.log) for step in steps):
                runs = [Run(trial_directory(self.root, row, number)) for number in row.trial_numbers]
                choices[row.name] = choose(runs, row.trials)
        return choices

    def adopt(self, choices: Mapping[str, Choice]) -> dict[str, int]:
        """Add choices to tuning.json, and return the numbers of the chosen trials by row."""
        path = self.root / TUNING
        others = read_tuning(path) if path.is_file() else {}  # choices of an earlier command for other rows
        atomic_write_json(path, {name: choice.record() for name, choice in (others | dict(choices)).items()})
        return {name: choice.chosen for name, choice in choices.items()}

    def chains(self, chosen: Mapping[str, int], rows: Sequence[Row]) -> list[list[Step]]:
        """Return the training and report steps of each run of some rows, ordered by seed.

        Rows without a choice among their trials are left out.
        """
        runs = self._runs(chosen, rows)
        for row, seed in runs:
            self._take_over_trial(row, chosen, seed)
        return [self.run_steps(row, chosen, seed) for row, seed in runs]

    def _runs(self, chosen: Mapping[str, int], rows: Sequence[Row]) -> list[tuple[Row, int]]:
        """Return the runs of some rows, by row and seed, without rows that still lack a choice."""
        trained = [row for row in rows if row.trains and self.experiment.is_settled(row, chosen)]
        return [(row, seed) for seed in self.experiment.seeds for row in trained]

    def trial_steps(self, row: Row, number: int) -> tuple[Training, ReportStep]:
        """Return the training and report steps of a trial. Raises InputError for a run with another configuration."""
        config, path = self.experiment.trial(row, number), trial_directory(self.root, row, number)
        init = init_of(self.experiment, row, self.root, self.experiment.seeds[0])
        require_same(Run(path), config, self.corpus, init)
        budget = None if self.budget is None else self.budget * self.experiment.share(row, number)
        train = Training(path, self.experiment.corpus, config, budget, init)
        return train, ReportStep(path, self.experiment.trial_settings(), path / "eval" / "tuning.json")

    def run_steps(self, row: Row, chosen: Mapping[str, int], seed: int) -> list[Step]:
        """Return the training and report steps of a row from a seed, with the reports of rows `of` this row.

        The first run also has the reports on texts of known quality and on rows with samples.

        Raises:
            InputError: there is a run with another configuration.
        """
        asked, path = self.experiment, run_directory(self.root, row, seed)
        config, init = asked.config(row, chosen, seed), init_of(asked, row, self.root, seed)
        require_same(Run(path), config, self.corpus, init)
        train = Training(path, asked.corpus, config, self.budget, init)
        judged = [row, *(other for other in asked.rows if other.of == row.name)]
        calibration = []
        if (row, seed) == (asked.first, asked.seeds[0]):
            judged += [other for other in asked.rows if other.samples is not None]
            calibration = calibrations(asked, path, self.root)
        reports = [step for each in judged for step in reports_of(asked, each, self.root, seed)]
        return [train, *reports, *calibration]

    def _take_over_trial(self, row: Row, chosen: Mapping[str, int], seed: int) -> None:
        """Copy the chosen trial as this run if both have the same settings, seed and epochs."""
        run = run_directory(self.root, row, seed)
        if run.exists() or not row.trials:
            return
        number = chosen[row.name]
        if self.experiment.config(row, chosen, seed) != self.experiment.trial(row, number):
            return
        train, _ = self.trial_steps(row, number)
        if train.init == init_of(self.experiment, row, self.root, seed) and train.is_done(self.log):
            with tempfile.TemporaryDirectory(prefix=f".{run.name}-", dir=run.parent) as scratch:
                copy = shutil.copytree(train.run, Path(scratch, "run"))
                with suppress(OSError):  # another process may have done it first
                    copy.rename(run)
            entry = {"step": f"{run.name} train", "status": 0, "seconds": 0.0, "threads": self.threads}
            self.log.add(entry | train.entry(0))  # it has used up its budget, too

    def _carry_out(self, stage: str, chains: Sequence[Sequence[Step]]) -> None:
        """Run chains of steps in parallel; a chain ends if its training fails, or that of the run that it starts from.

        Raises:
            KeyboardInterrupt: `should_stop` returned true, and all chains have stopped.
        """
        several = self.n_jobs > 1
        self._add = adder(self.on_progress, stage, sum(map(len, chains)))
        self._add(0)
        workers: AbstractContextManager[Pool | None] = Pool(self.n_jobs, self.threads) if several else nullcontext()
        with workers as self._pool, ThreadPoolExecutor(self.n_jobs, initializer=block_signals) as threads:
            try:
                for future in as_completed([threads.submit(self._chain, chain) for chain in chains]):
                    future.result()
            except BaseException:
                self._broken_off = True
                raise
        if self.should_stop():
            raise KeyboardInterrupt

    def _chain(self, steps: Iterable[Step]) -> None:
        """Run the steps of a chain one after another."""
        try:
            for step in steps:
                if self._stops():
                    return
                if not step.is_done(self.log):
                    can_begin = not isinstance(step, Training) or step.can_begin(self.log)
                    if not (can_begin and self._do(step)) and isinstance(step, Training):
                        return
                self._add(1)
        except BaseException:  # on an error here, such as a full disk, stop the other chains at once
            self._broken_off = True
            raise

    def _stops(self) -> bool:
        return self._broken_off or self.should_stop()

    def _do(self, step: Step) -> bool:
        logger.info("begins  %s", step.name)
        began = time.monotonic()
        status, message = self._call(step)
        seconds = time.monotonic() - began
        entry = {"step": step.name, "status": status, "seconds": round(seconds, 1), "threads": self.threads}
        self.log.add(entry | step.entry(status))
        if status:
            self.failures.append(Failure(step.name, status, message))
        logger.info("ended   %s: %s", step.name, f"status {status}: {message}" if status else f"{seconds:.0f} s")
        return status == 0

    def _call(self, step: Step) -> Outcome:
        perform = partial(step.perform, device=self.device, data_dir=self.data_dir)
        if self._pool is None:
            return outcome(perform, self.on_progress, self._stops)
        return self._pool.call(perform, self._stops)
