"""`lebm-text compare A B …`: which figures of runs or reports differ by more than their confidence intervals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.experiments.comparing import ComparedFigure, FigureDifference, compare, read_figures
from lebm_text.reports.base import format_interval, new_table
from lebm_text.sharing.hub import local_directory

from .console import show_table
from .options import json_option
from .parameters import Command, RunPath
from .streams import print_json

__all__ = ["command"]

_PLACE = RunPath(exists=True, path_type=Path)


@click.command("compare", cls=Command)
@click.argument("paths", metavar="A [B...]", nargs=-1, required=True, type=_PLACE)
@json_option
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Compare the figures of A with the figures of each B. A and B are run directories or report files.

    A report of several texts (evaluate --samples A --samples B -o FILE) stands for all of them, the first for A.

    Reports of evaluate, fppl, rppl, likelihood and fed can be compared. A difference counts if its 95 % confidence
    interval, over sentences or over seeds, excludes equality; one in twenty equal figures seems different by chance.
    Figures are compared only if their signatures differ in nothing but the model. If not, the table says what else
    differs: the judge, the vocabulary, the text, the number of samples, or the decoding.
    """
    (first, figures), *others = _systems(paths)
    found = {name: compare(figures, of_other) for name, of_other in others}
    if as_json:
        rows = {name: [{**asdict(each), "beyond": each.is_beyond} for each in rows] for name, rows in found.items()}
        return print_json({"first": first, "others": rows})
    for name, differences in found.items():
        table = new_table(f"{name} beside {first}", "figure", "A", "B", "B / A or B − A", "95 %", "by", texts=("",))
        for each in differences:
            table.add_row(
                each.metric, *("" if value is None else f"{value:.2f}" for value in each.values), *_cells(each)
            )
        show_table(table)
    return None


def _systems(paths: tuple[Path, ...]) -> list[tuple[str, list[ComparedFigure]]]:
    """Return the systems to compare, each with its name and figures. Raises InputError if there is only one."""
    found = []
    for path in paths:
        own = read_figures(local_directory(path))
        alone = len(paths) == 1 or str(path) in own  # else texts of different reports may have one name
        found += [(name if alone else f"{path}: {name}", figures) for name, figures in own.items()]
    if len(found) == 1:
        raise InputError(f"there is nothing to compare {found[0][0]} with: name another run or report")
    return found


def _cells(each: FigureDifference) -> tuple[str, ...]:
    if each.interval is None:
        return "", "", "", f"not comparable: {each.why}"
    low, high = each.interval.low, each.interval.high
    span = "" if low is None or high is None else format_interval(low, high, 3)
    verdict = "differs" if each.is_beyond else "within its interval" if span else "its interval is not known"
    return f"{each.interval.value:.3f}", span, each.rule, verdict
