"""`lebm-text neighbours`: the sentences of a corpus that are nearest to given ones in the latent space."""

from __future__ import annotations

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
from .streams import print_json

__all__ = ["command"]


@click.command("neighbours", cls=Command)
@click.argument("sentences", metavar="[SENTENCE]...", nargs=-1)
@click.option("--file", type=INPUT,
              help="Read the sentences from a file, one per line.  [default: standard input, if no SENTENCE is "
              "given]")  # fmt: skip
@text_column_option
@run_options
@field_option(NeighboursSettings, "split", help="Split of the corpus to search.")
@field_option(NeighboursSettings, "n", "-n", help="Search at most N different sentences.")
@field_option(NeighboursSettings, "k", "-k", help="Number of neighbours of each sentence.")
@field_option(NeighboursSettings, "metric", help="Distance between posterior means.")
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
    """List the sentences of the run's corpus that are nearest to each SENTENCE, by distance of posterior means.

    Sentences that occur several times in the split are listed once. If the split has more than -n sentences, a random
    subset is searched. Computing the posterior means takes a while; they are kept in the cache, even if the command is
    interrupted. With --json, each line is an object with "input" and "neighbours".
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
        print_json(query | facts)


def _read_sentences(file: Path | None, typed: Sequence[str], column: str | None) -> list[str]:
    """Return the typed sentences if there are any, else the lines of `file` or standard input, with empty ones."""
    if typed and file is not None:
        raise InputError("sentences are named both as arguments and by --file: give one of them")
    if typed and column is not None:
        raise InputError("--text-column is a field of a file; the sentences are named as arguments")
    if typed:
        return [parse_sentence(text, f"argument {i}") for i, text in enumerate(typed, 1)]
    return list(read_records(file or STDIN, column))
