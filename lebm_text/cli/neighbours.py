"""`lebm-text neighbours`: the sentences of a corpus that lie nearest to given ones in the latent space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lebm_text.reports.neighbours import METRICS, NeighboursSettings, compute
from lebm_text.run import Run

from .console import command_line, progress, show_report
from .options import draws_options, report_options, run_options, split_option, whole
from .sentences import query_options, read_sentences
from .streams import print_text

__all__ = ["command"]


@click.command("neighbours")
@query_options
@run_options
@split_option("test", "train", "valid")
@click.option("-n", type=whole(), default=500, help="Search so many different sentences of it at most.")
@click.option("-k", type=whole(), default=5, help="Neighbours of each sentence.")
@click.option("--metric", type=click.Choice(METRICS), default="cosine")
@draws_options
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
    if not (queries := read_sentences(file, sentences, text_column)):
        return
    with progress(quiet=as_json) as on_progress:
        report = compute(found, queries, NeighboursSettings(**options), on_progress)
    if not as_json:
        show_report(report)
        return
    facts = replace(report, command=command_line(found)).to_json()
    for query in facts.pop("queries"):
        print_text(json.dumps(query | facts))
