"""`lebm-text data`: which corpora there are, get one, compare one with the registry."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.text.corpora import compare_registered, describe_registered, fetch_registered
from lebm_text.text.registry import REGISTRY

from .console import show_rows, show_sources
from .options import data_dir_option, json_option, verbose_option
from .streams import print_text

command = click.Group("data", no_args_is_help=False, help="List, fetch and check text corpora.")


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


@command.command()
@click.argument("name")
@data_dir_option
@json_option
@verbose_option
def check(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Compare the corpus NAME, as found on this machine, with the registry.

    Exit code 0 if all that the registry knows agrees, else 2. A directory of one's own is read, counted and hashed.
    """
    found = compare_registered(name, data_dir=data_dir)
    if as_json:
        print_text(json.dumps(found, indent=1))
    else:
        rows = [(Path(s["path"]).name, s["n_sentences"], s["n_words"], s["sha256"]) for s in found["splits"].values()]
        show_rows(("file", "sentences", "words"), (row[:3] for row in rows))
        show_sources(f"sha256 {file}: {digest}" for file, _, _, digest in rows)
        verdicts = {None: "not in the registry: nothing to compare with", True: "agrees with the registry"}
        print_text(verdicts.get(found["identical"], "differs from the registry"))
    if found["differences"]:
        raise InputError(f"{name} differs from the registry: {'; '.join(found['differences'])}")
