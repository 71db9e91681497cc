"""What the commands on the latent space share: the run's model, where a report goes, what it says of its sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.reports.base import versions
from lebm_text.store import atomic_write_json, check_writable, read_json, sha256_file

from .command_line import command_line
from .sampling import find_run

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM
    from lebm_text.text.corpora import Corpus

__all__ = [
    "find_latent_run",
    "publish",
    "report_file",
    "report_option",
    "run_corpus",
    "sources",
]

Plot = Callable[[Path], list[Path]]


def report_option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--output` of a command whose report and pictures go into the run unless a place is named."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Write the report as JSON, pictures beside it.  [default: {name}.json in the run's eval/]",
    )


def find_latent_run(run: Path | None) -> Path:
    """The run that was named, or the newest; InputError for a language model, which has no z."""
    run = find_run(run)
    if Config.from_dict(read_json(run / "config.json")).model.latent_dim == 0:
        raise InputError(f"{run} is a language model (model.latent_dim = 0): it has no latent space to look into")
    return run


def report_file(run: Path, name: str, output: Path | None) -> Path:
    """Where the report goes, known to be writable before the work begins."""
    if output is None:
        output = run / "eval" / f"{name}.json"
        output.parent.mkdir(exist_ok=True)
    if output.suffix.lower() in (".png", ".svg"):
        raise InputError(f"the report {output} is JSON; pictures lie beside it under the same name")
    check_writable(output)
    return output


def run_corpus(run: Path, data_dir: Path | None) -> Corpus:
    """The text that the run was trained on, unchanged; InputError if it is gone."""
    from lebm_text.text.corpora import find_again

    described = read_json(run / "env.json").get("corpus")
    if not isinstance(described, dict):
        raise InputError(f"{run / 'env.json'} is damaged: it does not say what text the run was trained on")
    return find_again(described, data_dir=data_dir)


def sources(what: str, model: LatentEBM, run: Path, *, seed: int, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Command, signature, hash of the weights and versions; `what`: the command and its choices, as in a signature."""
    from lebm_text.generation.generate import describe_model

    return {
        "command": command_line(run),
        "signature": f"{what}|{describe_model(model.config)}|seed:{seed}|v:{__version__}",
        "sha256": {"weights": sha256_file(run / "model.safetensors")},
        "versions": versions() | {package: version(package) for package in packages},
    }


def publish(
    report: Mapping[str, Any], file: Path, plots: Mapping[str, Plot], lines: Sequence[str], *, as_json: bool
) -> None:
    """Write the report and its pictures (by the end of their name), and print either the report or `lines`."""
    from lebm_text.reports.drawing import picture_formats

    atomic_write_json(file, report)
    pictures: list[Path] = []
    if picture_formats():
        for ending, plot in plots.items():
            pictures += plot(file.with_name(file.stem + ending))
    shown = json.dumps(report) if as_json else "\n".join([*lines, report["signature"]])
    click.echo(shown.encode())  # UTF-8, whatever the locale
    if not picture_formats():
        click.echo("no picture was drawn: pictures need matplotlib, pip install 'lebm-text[viz]'", err=True)
    elif not as_json:
        click.echo(f"report: {file}, pictures: {', '.join(map(str, pictures))}", err=True)
