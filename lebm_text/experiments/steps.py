"""The steps of an experiment, which are trainings and reports; each is identified by a hash of its inputs, its key.

A report is done if the log has it under its current key, which is a hash of its settings and of the weights or the
text. If any of these changes, it is computed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.metrics import figures_of
from lebm_text.progress import Progress
from lebm_text.reports import frontier, likelihood, perplexity
from lebm_text.reports.base import Report
from lebm_text.reports.judging import JudgeSettings
from lebm_text.run import Run
from lebm_text.store import sha256_file, sha256_json

from .plan import Experiment, ReportSettings
from .rows import Row
from .tuning import seconds_trained

__all__ = [
    "Log",
    "ReportStep",
    "Step",
    "Training",
    "calibrations",
    "init_of",
    "is_trained",
    "reports_of",
    "require_same",
    "run_directory",
    "text_of",
    "trial_directory",
]

_COMPUTE: dict[type, Callable[..., Report]] = {
    frontier.FrontierSettings: frontier.compute,
    perplexity.PerplexitySettings: perplexity.compute,
    likelihood.LikelihoodSettings: likelihood.compute,
}


@dataclass(frozen=True)
class Training:
    """A step that trains a configuration, or resumes its training.

    Attributes:
        corpus: name or directory of the corpus.
        budget: minutes of training over all calls; None: no limit.
        init: the run whose generator provides the initial weights, if any.
    """

    run: Path
    corpus: str
    config: Config
    budget: float | None = None
    init: Path | None = None

    @property
    def name(self) -> str:
        """The step's name in messages and in the log."""
        return f"{self.run.name} train"

    def key(self) -> str:
        """Return a hash of the corpus, the configuration, and the run that provides initial weights."""
        return sha256_json([self.corpus, self.config.to_dict(), *([] if self.init is None else [self.init.name])])

    def is_done(self, log: Log) -> bool:
        """Return whether training is finished, or its last call succeeded with at least the current budget."""
        run = Run(self.run)
        if not run.weights_file.is_file():
            return False
        last = log.last(self.name)
        given = None if last is None or last["status"] else figures_of(last).get("budget")
        return run.progress().get("finished") is True or (
            self.budget is not None and given is not None and bool(given >= self.budget)
        )

    def can_begin(self, log: Log) -> bool:
        """Return whether the run that provides initial weights, if any, is trained: else its weights will change."""
        return self.init is None or is_trained(Run(self.init), log)

    def entry(self, status: int) -> dict[str, Any]:
        """Return the log entry of a step that ended with this status."""
        return {"key": self.key(), "budget": self.budget}

    def perform(
        self, on_progress: Progress, should_stop: Callable[[], bool], device: str, data_dir: Path | None = None
    ) -> None:
        """Train until the end or the budget; the corpus is looked for in `data_dir` first.

        Raises:
            KeyboardInterrupt: `should_stop` returned true; a checkpoint has been written.
        """
        from lebm_text.training.train import train

        run = Run(self.run)
        begun = run.config_file.is_file()
        init = {} if self.init is None else {"training": {"init": str(self.init)}}
        train(
            None if begun else self.corpus,
            out=self.run,
            config=None if begun else self.config.merge(init),
            resume=begun,
            max_minutes=None if self.budget is None else max(self.budget - seconds_trained(run) / 60, 0.01),
            device=device,
            data_dir=data_dir,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        if should_stop() and not run.progress().get("finished"):
            raise KeyboardInterrupt


@dataclass(frozen=True)
class ReportStep:
    """A step that computes a report and writes its file.

    Attributes:
        settings: of the report, whose kind they determine.
        output: file of the report.
        of_corpus: whether the report is about the real text, which is found through the run, instead of the run.
        samples: file of samples that the report is about, instead of the run.
    """

    run: Path
    settings: ReportSettings
    output: Path
    of_corpus: bool = False
    samples: Path | None = None

    @property
    def name(self) -> str:
        """The step's name in messages and in the log."""
        return self.output.stem if self.of_corpus else f"{self.run.name} {self.output.stem}"

    def key(self) -> str:
        """Return a hash of the settings that are not defaults, of the judges' keys, and of the weights or the texts."""
        run, settings, default = Run(self.run), asdict(self.settings), asdict(type(self.settings)())
        inputs: Any = text_of(run) if self.of_corpus else run.weights_sha256
        if self.samples is not None:
            inputs |= {"samples": sha256_file(self.samples)}
        asked = {name: value for name, value in settings.items() if value != default[name]}
        if isinstance(self.settings, JudgeSettings):
            asked["recipes"] = [key for each in self.settings.judges() if (key := each.key()) is not None]
        return sha256_json([type(self.settings).__name__, asked, inputs])

    def is_done(self, log: Log) -> bool:
        """Return whether the file exists and was written under the current key."""
        if not self.output.is_file() or not Run(self.run).weights_file.is_file():
            return False
        last = log.last(self.name)
        return last is not None and not last["status"] and last["key"] == self.key()

    def entry(self, status: int) -> dict[str, Any]:
        """Return the log entry of a step that ended with this status; it has the key only if the step succeeded."""
        return {"key": None if status else self.key()}

    def perform(
        self, on_progress: Progress, should_stop: Callable[[], bool], device: str, data_dir: Path | None = None
    ) -> None:
        """Compute the report and write its file; the corpus is looked for in `data_dir` first.

        Raises:
            KeyboardInterrupt: `should_stop` returned true.
        """

        def watch(stage: str, done: int, total: int) -> None:
            if should_stop():
                raise KeyboardInterrupt
            on_progress(stage, done, total)

        run, settings = Run(self.run, data_dir=data_dir), replace(self.settings, device=device)
        compute = _COMPUTE[type(settings)]
        if not self.of_corpus:
            run.require_own(self.output.parent.name)
        if self.samples is None:
            report = compute(run, settings, watch)
        else:
            report = compute(self.samples, settings, watch, corpus=run)
        report.save(self.output)


Step: TypeAlias = Training | ReportStep


class Log:
    """The file log.jsonl, with key, exit status, seconds and number of threads of every step; it is thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries in order, without those of version 0.1.0, which have commands instead of keys."""
        with self._lock:
            lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
        return [entry for entry in map(_entry, lines) if "key" in entry]

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry, on a line of its own even if the last one was cut off."""
        with self._lock, self.path.open("ab+") as log:
            torn = log.tell() > 0 and log.seek(-1, os.SEEK_END) >= 0 and log.read(1) != b"\n"
            log.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")

    def last(self, name: str) -> dict[str, Any] | None:
        """Return the last entry of a step, or None."""
        return next((entry for entry in reversed(self.entries()) if entry["step"] == name), None)


def _entry(line: bytes) -> dict[str, Any]:
    """Parse a line; a truncated or damaged one gives an empty entry, so that its step is repeated."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) and {"step", "status"} <= set(entry) else {}


def is_trained(run: Run, log: Log) -> bool:
    """Return whether a run has weights, and its training is finished or its last call used up its budget."""
    last = log.last(f"{run.name} train")
    ended = run.progress().get("finished") is True or (last is not None and not last["status"])
    return run.weights_file.is_file() and ended


def trial_directory(root: Path, row: Row, number: int) -> Path:
    """Return the directory of a row's trial."""
    return root / "trials" / f"{row.name}-{number}"


def run_directory(root: Path, row: Row, seed: int) -> Path:
    """Return the directory of a row's run from one seed."""
    return root / f"{row.name}-seed{seed}"


def init_of(experiment: Experiment, row: Row, root: Path, seed: int) -> Path | None:
    """Return the run whose generator provides the initial weights of a row's run from a seed, if any."""
    start = experiment.start_of(row)
    return None if start is None else run_directory(root, start, seed)


def reports_of(experiment: Experiment, row: Row, root: Path, seed: int) -> list[ReportStep]:
    """Return the steps that judge a row's run from a seed, or its samples, on held-out text, cheapest first."""
    run = run_directory(root, experiment.source(row), seed)
    samples = None if row.samples is None else Path(row.samples)
    place = run / "eval" if samples is None else root / "samples"
    return [
        ReportStep(run, settings, place / f"{name}{row.suffix}.json", samples is not None, samples)
        for name, settings in experiment.report_settings(row, seed).items()
    ]


def calibrations(experiment: Experiment, run: Path, root: Path) -> list[ReportStep]:
    """Return the steps that judge texts of known quality, such as n-gram samples; `run` leads to the real text."""
    return [
        ReportStep(run, settings, root / f"{metric}-known.json", True)
        for metric, settings in experiment.calibration_settings().items()
    ]


def require_same(run: Run, config: Config, corpus: Mapping[str, str] | None = None, init: Path | None = None) -> None:
    """Raise InputError if a run, if it exists, has another configuration, text or initial weights than required.

    `corpus` is the required sha256 by split, and `init` the run that must have provided the initial weights; None: not
    checked.
    """
    if not run.config_file.is_file():
        return
    if init is not None:
        config = config.merge({"training": {"init": run.config.training.init}})
        first = run.environment.get("init")
        if Run(init).weights_file.is_file() and (
            not isinstance(first, dict) or first.get("weights_sha256") != Run(init).weights_sha256
        ):
            raise InputError(f"{run} did not begin with the weights that {init} has; delete it")
    if corpus is not None and text_of(run) != corpus:
        raise InputError(f"{run} was trained on another text of the name {run.corpus_name}; use another directory")
    if other := config.conflicts(run.config):
        asked = ", ".join(change for change in config.assignments(run.config) if change.partition("=")[0] in other)
        raise InputError(
            f"{run} has other settings than the experiment now asks for ({asked}); delete it, or use another directory"
        )


def text_of(run: Run) -> dict[str, str]:
    """Return the sha256 of the text that a run was trained on, by split."""
    return {name: split.sha256 for name, split in run.described_corpus.splits.items()}
