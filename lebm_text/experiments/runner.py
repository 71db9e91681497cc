"""Carry out an experiment: tune on validation text, train every row from every seed, judge; go on where it stopped.

Every step is a process of its own (`python -m lebm_text …`), several at a time if there are processors for them, and
leaves its output beside the run. What is done is not done again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from lebm_text.store import atomic_write_json, read_json

from .log import Log
from .plan import Experiment, Row
from .steps import (
    Step,
    calibrating,
    command_line,
    judging,
    require_same,
    run_directory,
    training,
    trial_directory,
    trying,
)
from .tuning import choose

__all__ = ["Failure", "Runner"]

TUNING, LOG = "tuning.json", "log.jsonl"


@dataclass(frozen=True)
class Failure:
    """A step that ended badly: its command, its exit status and the last line it said."""

    command: str
    status: int
    said: str


@dataclass
class Runner:
    """Carries out `experiment` in the directory `root`.

    Attributes:
        budget: minutes of training a run from one seed may take; a trial gets its share by epochs. None: no limit.
        n_jobs: steps that run at a time; the processors are divided among them.
        corpus: sha256 of its splits: runs on another text are refused. None: not looked at.
        on_line: hears what begins, how it ended, and what went wrong.
    """

    experiment: Experiment
    root: Path
    budget: float | None = None
    n_jobs: int = 1
    data_dir: Path | None = None
    corpus: Mapping[str, str] | None = None
    on_line: Callable[[str], None] = lambda _line: None
    failures: list[Failure] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self.log = Log(self.root / LOG)

    def tune(self) -> dict[str, int]:
        """Carry out all trials; returns the number of each row's chosen one. Writes tuning.json.

        A row that has a trial which could not be finished and judged is left out: nothing can be chosen for it.
        """
        rows = [row for row in self.experiment.rows if row.trials]
        trials = {row.name: [self.trial_steps(row, number) for number in _numbers(row)] for row in rows}
        self._carry_out([steps for of_row in trials.values() for steps in of_row])
        choices = {}
        for row in rows:
            if all(step.is_done(self.log) for steps in trials[row.name] for step in steps):
                runs = [trial_directory(self.root, row, number) for number in _numbers(row)]
                choices[row.name] = choose(runs, row.trials).record()
        return self.adopt(choices)

    def adopt(self, choices: Mapping[str, Any]) -> dict[str, int]:
        """Write these choices to tuning.json, those of other rows kept; returns the numbers of the chosen trials."""
        path = self.root / TUNING
        others = read_json(path) if path.is_file() else {}  # of rows that an earlier, narrower command had
        atomic_write_json(path, others | dict(choices))
        return {name: choice["chosen"] for name, choice in choices.items()}

    def train_and_judge(self, chosen: Mapping[str, int]) -> None:
        """Train and judge every row from every seed, the first seed of all rows first.

        Rows that need a choice which there is not are left out.
        """
        rows = [row for row in self.experiment.rows if self.experiment.is_settled(row, chosen)]
        runs = [(row, seed) for seed in self.experiment.seeds for row in rows]
        for row, seed in runs:
            self._take_over_trial(row, chosen, seed)
        self._carry_out([self.run_steps(row, chosen, seed) for row, seed in runs])

    def trial_steps(self, row: Row, number: int) -> list[Step]:
        """A trial's training and its judgement. Raises InputError if the run of another configuration is there."""
        config, run = self.experiment.trial(row, number), trial_directory(self.root, row, number)
        require_same(run, config, self.corpus)
        budget = None if self.budget is None else self.budget * self.experiment.share(row, number)
        train = training(self.experiment, row.preset, config, run, budget=budget, data_dir=self.data_dir)
        return [train, trying(self.experiment, run)]

    def run_steps(self, row: Row, chosen: Mapping[str, int], seed: int) -> list[Step]:
        """A row's training from a seed and all its judgements; with the first run, those of texts of known quality.

        Raises InputError if the run of another configuration is there.
        """
        run = run_directory(self.root, row, seed)
        config = self.experiment.config(row, chosen, seed)
        require_same(run, config, self.corpus)
        train = training(self.experiment, row.preset, config, run, budget=self.budget, data_dir=self.data_dir)
        first = (row, seed) == (self.experiment.rows[0], self.experiment.seeds[0])
        calibration = calibrating(self.experiment, run, self.root) if first else []
        return [train, *judging(self.experiment, run, seed), *calibration]

    def _take_over_trial(self, row: Row, chosen: Mapping[str, int], seed: int) -> None:
        """Where the chosen trial is this very run, of the same settings, seed and epochs, copy it."""
        run = run_directory(self.root, row, seed)
        if run.exists() or not row.trials:
            return
        number = chosen[row.name]
        if self.experiment.config(row, chosen, seed) != self.experiment.trial(row, number):
            return
        train, _ = self.trial_steps(row, number)
        if train.is_done(self.log):
            copy = run.with_name(f".{run.name}.tmp")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(train.run, copy)
            copy.rename(run)

    def _carry_out(self, chains: Sequence[Iterable[Step]]) -> None:
        """Chains side by side, the steps of a chain in turn; without its run none goes on. Ctrl-C ends all."""
        with ThreadPoolExecutor(self.n_jobs) as pool:
            futures = [pool.submit(self._chain_or_stop, chain) for chain in chains]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stop()
                try:
                    wait(futures)
                except KeyboardInterrupt:
                    self._stop()  # a training that is told twice ends at once
                raise

    def _stop(self) -> None:
        """Begin nothing more, and pass Ctrl-C on: a training saves and ends."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()  # not SIGINT, which those of a script in the background ignore

    def _chain_or_stop(self, steps: Iterable[Step]) -> None:
        """What is no failing step but a fault here, such as a full disk, must not wait for hours of other chains."""
        try:
            self._chain(steps)
        except BaseException:
            self._stop()
            raise

    def _chain(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if self._stopped:
                return
            if not step.is_done(self.log) and not self._perform(step) and step.output is None:
                return  # judgements need the run, but not each other

    def _perform(self, step: Step) -> bool:
        arguments = step.command()
        command = command_line(arguments)
        (step.run if step.output is None else step.output.parent).mkdir(parents=True, exist_ok=True)
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self.n_jobs)))
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        self.on_line(f"begins  {command}")
        began = time.monotonic()
        status, said = self._call(arguments, environment)
        seconds = time.monotonic() - began
        entry: dict[str, Any] = {"command": command, "status": status, "seconds": round(seconds, 1)}
        entry["threads"] = int(threads) if threads.isdecimal() else threads
        if step.budget is not None:
            entry["budget"] = step.budget
        self.log.add(entry)
        if status:
            self.failures.append(Failure(command, status, said))
        self.on_line(f"ended   {command}: " + (f"status {status}: {said}" if status else f"{seconds:.0f} s"))
        return status == 0

    def _call(self, arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
        """The exit status of `lebm-text` and the last line that it said on stderr."""
        with self._lock:
            if self._stopped:
                return 130, "stopped"
            process = subprocess.Popen(
                [sys.executable, "-m", "lebm_text", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            )
            self._running.add(process)
        try:
            _, errors = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        return process.returncode, (errors.strip().splitlines() or [""])[-1]


def _numbers(row: Row) -> range:
    return range(1, len(row.trials) + 1)
