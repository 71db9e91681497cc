"""`lebm-text compare A B …`: which figures of runs or reports differ by more than their confidence intervals."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lebm_text.experiments.comparing import FigureDifference, compare
from lebm_text.reports.base import format_interval, new_table
from lebm_text.sharing.hub import local_directory

from .console import show_table
from .options import json_option
from .parameters import Command, RunPath
from .streams import print_json

__all__ = ["command"]

_PLACE = RunPath(exists=True, path_type=Path)


@click.command("compare", cls=Command)
@click.argument("first", metavar="A", type=_PLACE)
@click.argument("others", metavar="B...", nargs=-1, required=True, type=_PLACE)
@json_option
def command(first: Path, others: tuple[Path, ...], as_json: bool) -> None:
    """Compare the figures of A with the figures of each B. A and B are run directories or report files.

    Reports of evaluate, fppl, rppl, likelihood and fed can be compared. A difference counts if its 95 % confidence
    interval, over sentences or over seeds, excludes equality; one in twenty equal figures seems different by chance.
    Figures are compared only if their signatures differ in nothing but the model. If not, the table says what else
    differs: the judge, the vocabulary, the text, the number of samples, or the decoding.
    """
    found = {str(other): compare(local_directory(first), local_directory(other)) for other in others}
    if as_json:
        rows = {name: [{**asdict(each), "beyond": each.is_beyond} for each in rows] for name, rows in found.items()}
        return print_json({"first": str(first), "others": rows})
    for name, differences in found.items():
        table = new_table(f"{name} beside {first}", "figure", "A", "B", "B / A or B − A", "95 %", "by", texts=("",))
        for each in differences:
            table.add_row(
                each.metric, *("" if value is None else f"{value:.2f}" for value in each.values), *_cells(each)
            )
        show_table(table)
    return None


def _cells(each: FigureDifference) -> tuple[str, ...]:
    if each.interval is None:
        return "", "", "", f"not comparable: {each.why}"
    low, high = each.interval.low, each.interval.high
    span = "" if low is None or high is None else format_interval(low, high, 3)
    verdict = "differs" if each.is_beyond else "within its interval" if span else "its interval is not known"
    return f"{each.interval.value:.3f}", span, each.rule, verdict
