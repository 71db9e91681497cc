"""`lebm-text data`: which corpora there are, get one, make one of a text, compare one with the registry."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lebm_text.text.corpora import describe_registered, fetch_registered
from lebm_text.text.registry import REGISTRY

from .console import show_rows
from .data_check import check
from .data_import import import_
from .options import data_dir_option, json_option
from .streams import print_text

command = click.Group("data", no_args_is_help=False, help="List, fetch, make and check text corpora.")


@command.command("list")
@data_dir_option
@json_option
def list_corpora(data_dir: Path | None, as_json: bool) -> None:
    """Show the named corpora and where each was found."""
    found = [describe_registered(name, data_dir=data_dir) for name in REGISTRY]
    if as_json:
        return print_text(json.dumps(found, indent=1))
    counts = (row["problem"] or "/".join(map(str, row["n_sentences"].values())) for row in found)
    rows = ((row["name"], row["found"] or "not found", n, row["licence"]) for row, n in zip(found, counts, strict=True))
    return show_rows(("name", "found", "sentences (train/valid/test)", "licence"), rows)


@command.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Get it again even if the cache has it.")
def fetch(name: str, force: bool) -> None:
    """Put the corpus NAME into the cache, verified."""
    directory, was_there = fetch_registered(name, force=force)
    print_text(f"{name} is {'already' if was_there else 'now'} in {directory}")


command.add_command(import_)
command.add_command(check)
