"""`lebm-text data import`: a corpus of one's own text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lebm_text.text.importing import import_text

from .console import print_message, progress
from .options import NEW_DIRECTORY, json_option, text_column_option
from .streams import print_text

__all__ = ["import_"]

_SIZE = "Of a text that names no such split: how many sentences, a number or a share."


@click.command("import")
@click.argument("source", metavar="SRC")
@text_column_option
@click.option("--label-column", metavar="NAME", help="Also keep this field, as the labels of the sentences.")
@click.option("--valid", metavar="SIZE", default="5%", help=_SIZE)
@click.option("--test", metavar="SIZE", default="5%", help=_SIZE)
@click.option("--tokenize", is_flag=True, help="Set punctuation apart from words.")
@click.option("--lowercase", is_flag=True, help="Make all letters lower-case.")
@click.option("-o", "--output", metavar="DIR", type=NEW_DIRECTORY, required=True, help="The new directory.")
@click.option("--overwrite", is_flag=True, help="Replace another import in DIR.")
@json_option
def import_(source: str, output: Path, as_json: bool, **options: Any) -> None:
    """Make a corpus of the text SRC, which `lebm-text train DIR` trains on.

    SRC is a file (.txt, .jsonl, .json, .csv, .tsv, .parquet, .arrow; also with .gz), a directory of such files, or
    hf:user/dataset[:config]. A row is a sentence. Splits that SRC names, as by train.csv, are kept; else they are taken
    by a hash of the sentence, so that equal sentences stand in one split. The same call again does nothing.
    """
    with progress(quiet=as_json) as on_progress:
        made = import_text(source, output, **options, on_progress=on_progress)
    if as_json:
        return print_text(json.dumps({**made.record, "directory": str(made.directory), "was_there": made.was_there}))
    for notice in made.notices():
        print_message("notice", notice)
    return print_text(made.describe())
