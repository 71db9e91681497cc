"""An experiment → the commands that carry it out, each with the file that shows that it has been done.

The table is what these commands print and write, and nothing else: any of them can be repeated by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.files import read_json
from lebm_text.presets import preset

from .plan import Experiment, Row

__all__ = [
    "Step",
    "calibrating",
    "judging",
    "likelihood_options",
    "require_same",
    "run_directory",
    "seconds_trained",
    "training",
    "trial_directory",
    "trying",
]

_WEIGHTS = "model.safetensors"
_SPENT = 0.95  # of a budget: the rest went into starting and validation, which a run's seconds of updates leave out


@dataclass(frozen=True)
class Step:
    """One call of `lebm-text`.

    `output` is its report; None for a training, which its run shows. `budget`: minutes of training that the run may
    take over all calls, None without limit.
    """

    run: Path
    arguments: tuple[str, ...]
    output: Path | None = None
    budget: float | None = None

    @property
    def done(self) -> bool:
        """Nothing is left to do: the report is newer than the weights, or the run has ended or used its budget."""
        weights = self.run / _WEIGHTS
        if self.output is not None:
            return self.output.is_file() and self.output.stat().st_mtime_ns >= weights.stat().st_mtime_ns
        progress = _progress(self.run)
        spent = self.budget is not None and progress["seconds"] >= _SPENT * 60 * self.budget
        return weights.is_file() and (progress["finished"] or spent)

    def command(self) -> tuple[str, ...]:
        """The arguments of `lebm-text` now: what has begun is resumed, with what is left of its budget."""
        if self.output is not None:
            return self.arguments
        resume = ("--resume",) if (self.run / "config.json").is_file() else ()
        limit: tuple[str, ...] = ()
        if self.budget is not None:
            limit = ("--max-minutes", f"{max(self.budget - seconds_trained(self.run) / 60, 0.01):.2f}")
        return (*self.arguments, *resume, *limit)


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
    options = ("--temperature", "1", "--no-greedy", "-n", str(experiment.tuning.n_samples))
    return _report(run, "evaluate", "tuning", "--lm", "kn5", "--split", "valid", *options)


def calibrating(experiment: Experiment, run: Path, root: Path) -> list[Step]:
    """Judge texts of known quality, n-gram samples among them, as many as any row's: by way of a run's reports.

    They depend on the corpus alone, so once they lie in `root`, whichever run it was, nothing is left to do.
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
    outputs = {metric: root / f"{metric}-known.json" for metric in ("fppl", "rppl")}
    return [
        Step(run, (metric, "--run", str(run), *options, "-o", str(output)), output)
        for metric, output in outputs.items()
        if not output.is_file()
    ]


def judging(experiment: Experiment, run: Path, seed: int) -> list[Step]:
    """Judge a row's run on held-out text, the cheapest first."""
    n = (*_held_out(experiment), "-n", str(experiment.n_samples))
    temperatures = [part for t in experiment.temperatures for part in ("--temperature", f"{t:g}")]
    steps = [_report(run, "evaluate", "frontier", "--lm", "kn5", *n, *temperatures, "--seed", str(seed))]
    if seed in experiment.likelihood_seeds:
        steps.append(_report(run, "likelihood", "likelihood", *_held_out(experiment), *likelihood_options(experiment)))
    if seed in experiment.lstm_seeds:
        for metric in ("fppl", "rppl"):
            options = ["--lm", "lstm", *n, "--temperature", "1", "--seed", str(seed)]
            steps.append(_report(run, metric, f"{metric}-lstm", *options))
    return steps


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


def require_same(run: Path, config: Config, corpus: str) -> None:
    """Raise InputError if there is a run on another corpus or of another configuration: not what is asked for."""
    path = run / "config.json"
    if not path.is_file():
        return
    stored = Config.from_dict(read_json(path))
    trained_on = read_json(run / "env.json")["corpus"]["name"]
    if Path(trained_on).resolve().name != Path(corpus).resolve().name:
        raise InputError(f"{run} was trained on {trained_on}, not on {corpus}; use another --out")
    if other := config.conflicts(stored):
        asked = ", ".join(change for change in config.assignments(stored) if change.partition("=")[0] in other)
        raise InputError(
            f"{run} has other settings than the experiment now asks for ({asked}); delete it, or use another --out"
        )


def seconds_trained(run: Path) -> float:
    """Seconds that a run's updates have taken, to its last checkpoint."""
    return float(_progress(run)["seconds"])


def _progress(run: Path) -> Mapping[str, Any]:
    path = run / "checkpoints" / "last" / "state.json"
    if not path.is_file():
        return {"seconds": 0.0, "finished": False}
    return dict(read_json(path)["state"]["progress"])
