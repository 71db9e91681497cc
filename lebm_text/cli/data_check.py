"""`lebm-text data check`: compare a corpus with what the registry knows of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.text.corpora import compare_registered

from .console import show_rows, show_sources
from .options import data_dir_option, json_option, verbose_option
from .streams import print_text

__all__ = ["check"]


@click.command("check")
@click.argument("name")
@data_dir_option
@json_option
@verbose_option
def check(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Compare the corpus NAME, as found on this machine, with the registry.

    Exit code 0 if all that the registry knows agrees, else 2. A directory of one's own is read, counted and hashed.
    """
    found = compare_registered(name, data_dir=data_dir)
    splits = [(Path(each["path"]).name, each) for each in found["splits"].values()]
    if as_json:
        print_text(json.dumps(found, indent=1))
    else:
        show_rows(
            ("file", "sentences", "words"), ((name, each["n_sentences"], each["n_words"]) for name, each in splits)
        )
        show_sources(f"sha256 {name}: {each['sha256']}" for name, each in splits)
        verdicts = {None: "not in the registry: nothing to compare with", True: "agrees with the registry"}
        print_text(verdicts.get(found["identical"], "differs from the registry"))
    if found["differences"]:
        raise InputError(f"{name} differs from the registry: {'; '.join(found['differences'])}")
