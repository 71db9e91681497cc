"""`lebm-text data`: list, fetch, import and check corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.text.corpora import compare_registered, describe_registered, fetch_registered
from lebm_text.text.importing import import_text
from lebm_text.text.registry import REGISTRY

from .console import print_message, progress, show_rows, show_sources
from .options import NEW_DIRECTORY, data_dir_option, json_option, text_column_option, verbose_option
from .parameters import Group
from .streams import print_json, print_text

__all__ = ["command"]

_SIZE = "Size of this split if SRC does not contain it: a number or a percentage of sentences."

command = Group("data", no_args_is_help=False, help="List, fetch, import and check text corpora.")


@command.command("list")
@data_dir_option
@json_option
def list_corpora(data_dir: Path | None, as_json: bool) -> None:
    """List the registered corpora and where each was found on this machine."""
    found = [describe_registered(name, data_dir=data_dir) for name in REGISTRY]
    if as_json:
        return print_json(found)
    rows = []
    for each in found:
        counts = each["problem"] or "/".join(map(str, each["n_sentences"].values()))
        rows.append((each["name"], each["found"] or "not found", counts, each["licence"]))
    return show_rows(("name", "found", "sentences (train/valid/test)", "licence"), rows)


@command.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch it again even if it is in the cache.")
def fetch(name: str, force: bool) -> None:
    """Fetch the corpus NAME into the cache and verify it."""
    directory, was_there = fetch_registered(name, force=force)
    print_text(f"{name} is {'already' if was_there else 'now'} in {directory}")


@command.command("import")
@click.argument("source", metavar="SRC")
@text_column_option
@click.option("--label-column", metavar="NAME", help="Also keep this field as the labels of the sentences.")
@click.option("--valid", metavar="SIZE", default="5%", help=_SIZE)
@click.option("--test", metavar="SIZE", default="5%", help=_SIZE)
@click.option("--tokenize", is_flag=True, help="Separate punctuation from words.")
@click.option("--lowercase", is_flag=True, help="Make all letters lower-case.")
@click.option("-o", "--output", metavar="DIR", type=NEW_DIRECTORY, required=True, help="Directory of the new corpus.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier import in DIR.")
@json_option
def import_(source: str, output: Path, as_json: bool, **options: Any) -> None:
    """Make a corpus of the text SRC, for `lebm-text train DIR`.

    SRC is a file (.txt, .jsonl, .json, .csv, .tsv, .parquet, .arrow; also with .gz), a directory of such files, or
    hf:user/dataset[:config]. Each row is a sentence. Splits that SRC contains, such as train.csv, are kept. Otherwise
    sentences are split by their hash, so that equal sentences are in the same split. Repeating the same import does
    nothing.
    """
    with progress(quiet=as_json) as on_progress:
        made = import_text(source, output, **options, on_progress=on_progress)
    if as_json:
        return print_json({**made.record, "directory": str(made.directory), "was_there": made.was_there})
    for notice in made.notices():
        print_message("notice", notice)
    return print_text(made.describe())


@command.command("check")
@click.argument("name")
@data_dir_option
@json_option
@verbose_option
def check(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Compare the corpus NAME, as found on this machine, with the registry.

    The exit code is 0 if it agrees with the registry, else 2. NAME may also be a directory that is not in the
    registry: its sentences and words are counted and its files are hashed.
    """
    found = compare_registered(name, data_dir=data_dir)
    splits = [(Path(each["path"]).name, each) for each in found["splits"].values()]
    if as_json:
        print_json(found)
    else:
        show_rows(
            ("file", "sentences", "words"), ((name, each["n_sentences"], each["n_words"]) for name, each in splits)
        )
        show_sources(f"sha256 {name}: {each['sha256']}" for name, each in splits)
        verdicts = {None: "not in the registry: nothing to compare with", True: "agrees with the registry"}
        print_text(verdicts.get(found["identical"], "differs from the registry"))
    if found["differences"]:
        raise InputError(f"{name} differs from the registry: {'; '.join(found['differences'])}")
