"""`lebm-text neighbours`: the sentences of a corpus that lie nearest to given ones in the latent space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.reports.neighbours import NeighboursSettings, compute
from lebm_text.run import Run
from lebm_text.text.reading import parse_sentence, read_records
from lebm_text.text.sources import STDIN

from .console import command_line, progress, show_report
from .options import INPUT, draws_options, field_option, report_options, run_options, text_column_option
from .parameters import Command
from .streams import print_text

__all__ = ["command"]


@click.command("neighbours", cls=Command)
@click.argument("sentences", metavar="[SENTENCE]...", nargs=-1)
@click.option("--file", type=INPUT,
              help="Read them from a file, one a line.  [default: standard input, if none is named]")  # fmt: skip
@text_column_option
@run_options
@field_option(NeighboursSettings, "split")
@field_option(NeighboursSettings, "n", "-n", help="Search so many different sentences of it at most.")
@field_option(NeighboursSettings, "k", "-k", help="Neighbours of each sentence.")
@field_option(NeighboursSettings, "metric")
@draws_options(NeighboursSettings)
@report_options(table=True)
def command(
    sentences: tuple[str, ...],
    file: Path | None,
    text_column: str | None,
    run: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the nearest sentences of the run's corpus to each SENTENCE, with distances between posterior means.

    Sentences that occur several times in the split are listed once. Of a larger split -n are searched, a seeded choice.
    Their posterior means take a while and are kept in the cache, also when the command is interrupted. With --json,
    each line is an object with "input" and "neighbours".
    """
    found = Run.find(run, data_dir=data_dir)
    if not (queries := _read_sentences(file, sentences, text_column)):
        return
    with progress(quiet=as_json) as on_progress:
        report = compute(found, queries, NeighboursSettings(**options), on_progress)
    if not as_json:
        show_report(report)
        return
    facts = replace(report, command=command_line(found)).to_json()
    for query in facts.pop("queries"):
        print_text(json.dumps(query | facts))


def _read_sentences(file: Path | None, typed: Sequence[str], column: str | None) -> list[str]:
    """What was typed, or the lines of a file, or of standard input (no file), empty ones included."""
    if typed and file is not None:
        raise InputError("sentences are named both as arguments and by --file: give one of them")
    if typed:
        return [parse_sentence(text, f"argument {i}") for i, text in enumerate(typed, 1)]
    return list(read_records(file or STDIN, column))
