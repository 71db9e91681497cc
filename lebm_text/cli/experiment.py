"""`lebm-text experiment`: many models trained, tuned and judged under one budget, and the table of what came out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError
from lebm_text.reports.needs import check_judges
from lebm_text.run import runs_directory

from .command_line import command_line
from .likelihood import command as likelihood_command
from .options import MAX_SEED, check_finite, data_dir_option, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lebm_text.experiments.plan import Experiment
    from lebm_text.experiments.results import Results
    from lebm_text.experiments.runner import Failure, Runner

__all__ = ["command"]

_HOW_IT_IS_SHOWN = ("table_only", "as_json")


@click.command("experiment")
@click.argument("name", metavar="NAME|FILE")
@click.option("--corpus", metavar="NAME|DIR", help="In place of the experiment's own.")
@data_dir_option
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0, min_open=True),
    callback=check_finite,
    help="Most minutes of training of a row's run from one seed; a trial has its share.  [default: no limit]",
)
@click.option(
    "--seed", "seeds", type=click.IntRange(0, MAX_SEED), multiple=True, help="Train from this seed; repeatable."
)
@click.option("--row", "rows", metavar="NAME", multiple=True, help="This row alone; repeatable.  [default: all]")
@click.option(
    "--skip", type=click.Choice(["lstm", "likelihood"]), multiple=True, help="Leave these judges out; repeatable."
)
@click.option(
    "--choices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the trials that this tuning.json chose, such as another corpus's, and tune nothing.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Steps at a time.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Where all goes.  [default: runs/NAME-CORPUS]"
)
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--table", "table_only", is_flag=True, help="Write the table of what is done, and do nothing else.")
@json_option
def command(
    *,
    name: str,
    corpus: str | None,
    data_dir: Path | None,
    budget_minutes: float | None,
    seeds: tuple[int, ...],
    rows: tuple[str, ...],
    skip: tuple[str, ...],
    choices: Path | None,
    jobs: int,
    out: Path | None,
    plan_only: bool,
    table_only: bool,
    as_json: bool,
) -> None:
    """Carry out an experiment of the package (table1) or of a TOML file, and write its table.

    What is done is not done again: stop it at any time, and give the same command to go on. Each step is a
    lebm-text command that log.jsonl keeps; results.md, results.json and frontiers.png have the table.
    """
    if plan_only and (table_only or as_json):
        raise InputError("--plan does nothing but say what would be done: leave out --table and --json")
    check_judges()
    from lebm_text.experiments.plan import read_experiment
    from lebm_text.experiments.tuning import read_choices

    experiment = read_experiment(name).narrowed(corpus=corpus, seeds=seeds, rows=rows, skip=skip)
    _check_likelihood(experiment, name)
    chosen = None
    if choices is not None:
        chosen = read_choices(choices, {row.name: row.trials for row in experiment.rows if row.trials})
    if budget_minutes is None and not (plan_only or table_only or as_json):
        click.echo("no --budget-minutes: every row is trained for all of its epochs", err=True)
    if jobs > (os.cpu_count() or 1):
        raise InputError(f"--jobs {jobs} is more than this machine's {os.cpu_count()} processors")
    root = out or runs_directory() / f"{experiment.name}-{Path(experiment.corpus).resolve().name}"
    if not as_json:
        for line in _plan(experiment, root, budget_minutes, jobs, tuned=chosen is not None):
            click.echo(line, err=not plan_only)
    if plan_only:
        return
    failures: Sequence[Failure] = ()
    if not table_only:
        from lebm_text.experiments.runner import Runner

        def say(line: str) -> None:
            click.echo(line, err=True)

        runner = Runner(experiment, root, budget_minutes, jobs, data_dir, on_line=say)
        _carry_out(runner, chosen)
        failures = runner.failures
    results = _write(experiment, root)
    if failures:
        last = failures[-1]
        raise InputError(f"{len(failures)} step(s) failed, the last: {last.command}: {last.said}")
    if as_json:
        click.echo(json.dumps(results.record()))
    else:
        click.echo((root / "results.md").read_text(encoding="utf-8"), nl=False)


def _check_likelihood(experiment: Experiment, name: str) -> None:
    """Raise InputError for options that `lebm-text likelihood` will not take: it is called after hours."""
    from lebm_text.experiments.steps import likelihood_options

    try:
        likelihood_command.make_context("likelihood", list(likelihood_options(experiment))).close()
    except click.UsageError as error:
        raise InputError(f"{name}: [likelihood] has the options of that command: {error.format_message()}") from None


def _plan(experiment: Experiment, root: Path, budget: float | None, jobs: int, *, tuned: bool) -> list[str]:
    """What will be done, with the sum of its budgets; `tuned`: trials are not needed."""
    trials = [(row, n) for row in experiment.rows for n in range(1, len(row.trials) + 1) if not tuned]
    n_runs = len(experiment.rows) * len(experiment.seeds)
    seeds = ", ".join(map(str, experiment.seeds))
    lines = [
        f"{experiment.title}: corpus {experiment.corpus}, rows {', '.join(row.name for row in experiment.rows)}",
        f"{len(trials)} trials, then {n_runs} runs (seeds {seeds}), in {root}",
    ]
    if budget is not None:
        share = sum(experiment.share(row, number) for row, number in trials)
        hours = budget * (n_runs + share) / 60
        lines.append(
            f"training takes at most {hours:.1f} h of processes ({budget:g} minutes a run), {jobs} at a time: "
            f"{hours / jobs:.1f} h; judging comes on top"
        )
    return lines


def _carry_out(runner: Runner, choices: Mapping[str, Any] | None) -> None:
    from lebm_text.text.corpora import find_corpus

    corpus = find_corpus(runner.experiment.corpus, data_dir=runner.data_dir)
    runner.corpus = {name: split.sha256 for name, split in corpus.splits.items()}
    runner.root.mkdir(parents=True, exist_ok=True)
    try:
        runner.train_and_judge(runner.tune() if choices is None else runner.adopt(choices))
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on", err=True)
        raise


def _write(experiment: Experiment, root: Path) -> Results:
    from lebm_text.experiments.markdown import markdown
    from lebm_text.experiments.results import gather
    from lebm_text.reports.drawing import picture_formats
    from lebm_text.reports.frontier import plot_frontiers
    from lebm_text.store import atomic_write_json, atomic_write_text

    if not root.is_dir():
        raise InputError(f"nothing has been done yet: there is no {root}")
    results = gather(experiment, root)
    atomic_write_json(root / "results.json", results.record())
    atomic_write_text(root / "results.md", markdown(results, command_line(without=_HOW_IT_IS_SHOWN)))
    models = {row["label"]: _curve(row["kn5"]) for row in results.rows.values() if row["kn5"]}
    if models and picture_formats():
        real = results.real["kn5"]
        plot_frontiers(models, (real["ppl"], real.get("rppl_at_n", real["ppl"])), root / "frontiers.png")
    return results


def _curve(decodings: dict[str, dict[str, dict[str, float]]]) -> dict[str, tuple[float, float]]:
    return {name: (figures["fppl"]["value"], figures["rppl"]["value"]) for name, figures in decodings.items()}
