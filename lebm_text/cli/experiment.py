"""`lebm-text experiment`: many models trained, tuned and judged under one budget, and the table of what came out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lebm_text.config import read_assignments
from lebm_text.errors import InputError
from lebm_text.experiments.markdown import write_table
from lebm_text.experiments.reading import read_experiment
from lebm_text.experiments.runner import carry_out
from lebm_text.experiments.tuning import read_choices
from lebm_text.text.corpora import require_known

from .console import command_line, progress
from .main import stop_on_signals
from .options import data_dir_option, experiment_options, report_options, use_threads
from .streams import print_note, print_text

__all__ = ["command"]


@click.command("experiment")
@click.argument("name", metavar="NAME|FILE")
@data_dir_option
@experiment_options
@report_options(threads=True)
def command(
    *, name: str, data_dir: Path | None, overrides: tuple[str, ...], budget_minutes: float | None, choices: Path | None,
    jobs: int, out: Path | None, plan_only: bool, table_only: bool, device: str, n_threads: int | None, as_json: bool,
    **narrowing: Any,
) -> None:  # fmt: skip
    """Carry out an experiment of the package (table1) or of a TOML file, and write its table.

    What is done is not done again: stop it at any time, and give the same command to go on. log.jsonl keeps every
    step; results.md, results.json, frontiers.png and frontiers.svg have the table.
    """
    if plan_only and (table_only or as_json):
        raise InputError("--plan does nothing but say what would be done: leave out --table and --json")
    experiment = read_experiment(name).narrowed(**narrowing, settings=read_assignments(overrides))
    taken = None if choices is None else read_choices(choices, experiment.trials)
    root = out or experiment.directory
    for line in [] if as_json else experiment.describe(root, budget_minutes, jobs, tuned=taken is not None):
        (print_text if plan_only else print_note)(line)
    if plan_only:
        require_known(experiment.corpus, data_dir=data_dir)
        return
    use_threads(n_threads)
    failures = []
    if not table_only:
        with stop_on_signals() as stop, progress(quiet=as_json) as show:
            failures = carry_out(experiment, root, budget_minutes, jobs, taken, data_dir, device, show, stop, n_threads)
    results = write_table(experiment, root, command_line())
    if failures:
        raise InputError(f"{len(failures)} step(s) failed, the last: {failures[-1].step}: {failures[-1].message}")
    print_text(json.dumps(results.record()) if as_json else (root / "results.md").read_text(encoding="utf-8").rstrip())
