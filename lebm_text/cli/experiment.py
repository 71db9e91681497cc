"""`lebm-text experiment`: train, tune and judge many models under one budget, and write a table of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.checks import MAX_SEED
from lebm_text.config import read_assignments
from lebm_text.errors import InputError
from lebm_text.experiments.markdown import write_table
from lebm_text.experiments.reading import read_experiment
from lebm_text.experiments.runner import Runner
from lebm_text.experiments.tuning import read_choices
from lebm_text.text.corpora import require_known

from .console import command_line, progress
from .main import stop_on_signals
from .options import (
    MINUTES,
    NEW_DIRECTORY,
    TEXT,
    data_dir_option,
    report_options,
    trust_option,
    use_threads,
    whole,
)
from .parameters import Command
from .streams import print_json, print_note, print_text

__all__ = ["command"]


@click.command("experiment", cls=Command)
@click.argument("name", metavar="NAME|FILE")
@data_dir_option
@click.option("--corpus", metavar="NAME|DIR", help="Train on this corpus instead of the experiment's.")
@click.option("--budget-minutes", type=MINUTES,
              help="Limit in minutes for training a row from one seed; a trial gets its share of this.  "
              "[default: no limit]")  # fmt: skip
@click.option("--seed", "seeds", type=whole(0, MAX_SEED), multiple=True, help="Train from this seed; repeatable.")
@click.option("--row", "rows", metavar="NAME", multiple=True,
              help="Run only this row and those that it needs; repeatable.  [default: all]")  # fmt: skip
@click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True,
              help="Change one setting of all rows, such as their size; repeatable.")  # fmt: skip
@click.option("--skip", type=click.Choice(["lstm", "likelihood", "fed"]), multiple=True,
              help="Leave out this evaluation; repeatable.")  # fmt: skip
@click.option("--choices", type=TEXT,
              help="Do not tune; take the trials chosen in this tuning.json, such as one of another "
              "corpus.")  # fmt: skip
@click.option("--jobs", type=whole(), default=1, help="How many steps run at the same time.")
@trust_option
@click.option("--out", type=NEW_DIRECTORY, help="Output directory.  [default: runs/NAME-CORPUS]")
@click.option("--plan", "plan_only", is_flag=True, help="Only print what would be done.")
@click.option("--table", "table_only", is_flag=True, help="Only write the table of the steps that are done.")
@report_options(threads=True)
def command(
    *, name: str, data_dir: Path | None, overrides: tuple[str, ...], budget_minutes: float | None, choices: Path | None,
    jobs: int, out: Path | None, plan_only: bool, table_only: bool, device: str, n_threads: int | None, as_json: bool,
    **narrowing: Any,
) -> None:  # fmt: skip
    """Run an experiment of the package (table1) or of a TOML file, and write a table of its results.

    You can stop it at any time; the same command then continues with the steps that are not done. log.jsonl has a
    record of every step; results.md, results.json, frontiers.png and frontiers.svg have the results.
    """
    if plan_only and (table_only or as_json):
        raise InputError("--plan does nothing but say what would be done: leave out --table and --json")
    experiment = read_experiment(name).narrowed(**narrowing, settings=read_assignments(overrides))
    taken = None if choices is None else read_choices(choices, experiment.trials)
    root = out or experiment.directory
    if not as_json:
        print_line = print_text if plan_only else print_note
        for line in experiment.describe(root, budget_minutes, jobs, tuned=taken is not None):
            print_line(line)
    runner = Runner(experiment, root, budget=budget_minutes, n_jobs=jobs, n_threads=n_threads, data_dir=data_dir,
                    device=device)  # fmt: skip
    if plan_only:
        require_known(experiment.corpus, data_dir=data_dir)
        return print_text("{} of {} known steps are done".format(*runner.progress(taken)))
    use_threads(n_threads)
    if not table_only:
        with stop_on_signals() as stop, progress(quiet=as_json) as show:
            runner.on_progress, runner.should_stop = show, stop
            runner.carry_out(taken)
    results = write_table(experiment, root, command_line())
    if failed := runner.failures:
        raise InputError(f"{len(failed)} step(s) failed, the last: {failed[-1].step}: {failed[-1].message}")
    if as_json:
        return print_json(results.record())
    return print_text((root / "results.md").read_text(encoding="utf-8").rstrip())
