"""An experiment → the commands that carry it out, each with the file that shows that it has been done.

The table is what these commands print and write, and nothing else: any of them can be repeated by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.presets import preset
from lebm_text.store import read_json

from .log import Log
from .plan import Experiment, Row

__all__ = [
    "METRICS",
    "Step",
    "calibrating",
    "command_line",
    "judging",
    "likelihood_options",
    "require_same",
    "run_directory",
    "seconds_trained",
    "text_of",
    "training",
    "trial_directory",
    "trying",
]

METRICS = ("fppl", "rppl")
_WEIGHTS = "model.safetensors"
_OPTIONS = 3  # of a report's command come after its name, --run and the run


@dataclass(frozen=True)
class Step:
    """One call of `lebm-text`.

    `output` is its report; None for a training, which its run shows. `budget`: minutes of training that the run may
    take over all calls, None without limit. `of_corpus`: the report is on real text alone, and any run leads to it.
    """

    run: Path
    arguments: tuple[str, ...]
    output: Path | None = None
    budget: float | None = None
    of_corpus: bool = False

    def is_done(self, log: Log) -> bool:
        """Nothing is left to do.

        A training: the run has ended, or its last call was given no more time than is asked for now, and took it. A
        report: it is newer than the weights, and no step made it with other options, fewer samples for example.
        """
        weights = self.run / _WEIGHTS
        if self.output is None:
            return weights.is_file() and (_progress(self.run)["finished"] or self._has_spent(log))
        if not self.output.is_file():
            return False
        if not self.of_corpus and self.output.stat().st_mtime_ns < weights.stat().st_mtime_ns:
            return False
        maker = log.maker(self.output)
        if maker is None or maker == command_line(self.arguments):
            return True
        options = self.arguments[_OPTIONS:]
        return self.of_corpus and maker.split()[1] == self.arguments[0] and maker.endswith(" ".join(options))

    def _has_spent(self, log: Log) -> bool:
        last = log.training(self.run)
        given = None if last is None or last["status"] else last.get("budget")
        return self.budget is not None and given is not None and bool(given >= self.budget)

    def command(self) -> tuple[str, ...]:
        """The arguments of `lebm-text` now: what has begun is resumed, with what is left of its budget."""
        if self.output is not None:
            return self.arguments
        resume = ("--resume",) if (self.run / "config.json").is_file() else ()
        limit: tuple[str, ...] = ()
        if self.budget is not None:
            limit = ("--max-minutes", f"{max(self.budget - seconds_trained(self.run) / 60, 0.01):.2f}")
        return (*self.arguments, *resume, *limit)


def command_line(arguments: Sequence[str]) -> str:
    """As the log keeps it."""
    return " ".join(("lebm-text", *arguments))


def trial_directory(root: Path, row: Row, number: int) -> Path:
    """Where the run of a row's trial lies."""
    return root / "trials" / f"{row.name}-{number}"


def run_directory(root: Path, row: Row, seed: int) -> Path:
    """Where a row's run from one seed lies."""
    return root / f"{row.name}-seed{seed}"


def training(
    experiment: Experiment, name: str, config: Config, run: Path, *, budget: float | None, data_dir: Path | None
) -> Step:
    """Train the configuration, which differs from the preset `name` by what the command says."""
    changes = [f"--set={change}" for change in config.assignments(preset(name))]
    where = () if data_dir is None else ("--data-dir", str(data_dir))
    arguments = ("train", experiment.corpus, *where, "--preset", name, *changes, "--out", str(run))
    return Step(run, arguments, budget=budget)


def trying(experiment: Experiment, run: Path) -> Step:
    """Judge a trial on validation text."""
    options = ("--no-greedy", "-n", str(experiment.tuning.n_samples))
    return _report(run, "evaluate", "tuning", "--lm", "kn5", "--split", "valid", *_temperatures(experiment), *options)


def calibrating(experiment: Experiment, run: Path, root: Path) -> list[Step]:
    """Judge texts of known quality, n-gram samples among them, as many as any row's: by way of a run's reports.

    They do not depend on the run, whichever it was.
    """
    options = (
        "--lm",
        "kn5",
        *_held_out(experiment),
        "-n",
        str(experiment.n_samples),
        "--temperature",
        "1",
        "--calibrate",
    )
    outputs = {metric: root / f"{metric}-known.json" for metric in METRICS}
    return [
        Step(run, (metric, "--run", str(run), *options, "-o", str(output)), output, of_corpus=True)
        for metric, output in outputs.items()
    ]


def judging(experiment: Experiment, run: Path, seed: int) -> list[Step]:
    """Judge a row's run on held-out text, the cheapest first."""
    n = (*_held_out(experiment), "-n", str(experiment.n_samples))
    decodings = _temperatures(experiment)
    steps = [_report(run, "evaluate", "frontier", "--lm", "kn5", *n, *decodings, "--seed", str(seed))]
    if seed in experiment.likelihood_seeds:
        steps.append(_report(run, "likelihood", "likelihood", *_held_out(experiment), *likelihood_options(experiment)))
    if seed in experiment.lstm_seeds:
        for metric in METRICS:
            options = ["--lm", "lstm", *n, "--temperature", "1", "--seed", str(seed)]
            steps.append(_report(run, metric, f"{metric}-lstm", *options))
    return steps


def _temperatures(experiment: Experiment) -> list[str]:
    return [part for t in experiment.temperatures for part in ("--temperature", f"{t:g}")]


def _held_out(experiment: Experiment) -> tuple[str, ...]:
    """Test text is what all commands take if nothing is said."""
    return () if experiment.split == "test" else ("--split", experiment.split)


def likelihood_options(experiment: Experiment) -> list[str]:
    """As they stand in the command."""
    dashes = {key: "-" if len(key) == 1 else "--" for key in experiment.likelihood}
    return [part for key, value in experiment.likelihood.items() for part in (f"{dashes[key]}{key}", str(value))]


def _report(run: Path, command: str, name: str, *options: str) -> Step:
    output = run / "eval" / f"{name}.json"
    return Step(run, (command, "--run", str(run), *options, "-o", str(output)), output)


def require_same(run: Path, config: Config, corpus: Mapping[str, str] | None = None) -> None:
    """Raise InputError if there is a run of another configuration or on another text: not what is asked for.

    `corpus`: sha256 of its splits; without it the text is not looked at.
    """
    path = run / "config.json"
    if not path.is_file():
        return
    stored = Config.from_dict(read_json(path))
    if corpus is not None and text_of(run) != corpus:
        name = read_json(run / "env.json")["corpus"]["name"]
        raise InputError(f"{run} was trained on another text of the name {name}; use another --out")
    if other := config.conflicts(stored):
        asked = ", ".join(change for change in config.assignments(stored) if change.partition("=")[0] in other)
        raise InputError(
            f"{run} has other settings than the experiment now asks for ({asked}); delete it, or use another --out"
        )


def text_of(run: Path) -> dict[str, str]:
    """Split → sha256 of the text that a run was trained on."""
    splits = read_json(run / "env.json")["corpus"]["splits"]
    return {name: split["sha256"] for name, split in splits.items()}


def seconds_trained(run: Path) -> float:
    """Seconds that a run's updates have taken, to its last checkpoint."""
    return float(_progress(run)["seconds"])


def _progress(run: Path) -> Mapping[str, Any]:
    path = run / "checkpoints" / "last" / "state.json"
    if not path.is_file():
        return {"seconds": 0.0, "finished": False}
    return dict(read_json(path)["state"]["progress"])
