"""What `fppl`, `rppl` and `ngram` share: the guard of the name `lm_eval`, their options, and reading text."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError

from .options import MAX_SEED, check_finite, data_dir_option, json_option
from .sampling import run_option

__all__ = ["backend_option", "check_judges", "judge_options", "read_text"]

F = TypeVar("F", bound=Callable[..., Any])

backend_option = click.option(
    "--ngram-backend",
    type=click.Choice(["numpy", "lmplz"]),
    default="numpy",
    show_default=True,
    help="Estimate here, or with KenLM's lmplz from PATH (for texts larger than memory).",
)


def check_judges() -> None:
    """Raise InputError if `lm_eval` is not ours: another distribution has the same import name."""
    try:
        module = importlib.import_module("lm_eval")
        ours = module.PROVIDER == "lebm-text"
    except (ImportError, AttributeError):
        ours = False
    if not ours:
        raise InputError(
            "the module lm_eval that Python finds is not lebm-text's; the LM evaluation harness has the same "
            "import name: install the two in different environments"
        )
    other = module.foreign_provider()
    if other is not None:
        raise InputError(
            f"the installed distribution {other} has the same import name, lm_eval, and overwrites files of "
            f"lebm-text; pip uninstall {other}, then reinstall lebm-text, or use two environments"
        )


def read_text(path: Path) -> list[str]:
    """All sentences of a text file, empty lines included; InputError if it cannot be read or is empty."""
    from lebm_text.text.reading import read_lines

    sentences = list(read_lines(path))
    if not sentences:
        raise InputError(f"{path} is empty; a text has one sentence a line")
    return sentences


def _check_each(ctx: click.Context, param: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        check_finite(ctx, param, value)
    return values


def judge_options(command: F) -> F:
    """The options that `fppl` and `rppl` share."""
    for option in reversed(
        [
            click.option(
                "--samples",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Text to judge, one sentence a line, from any system.  [default: those of the run]",
            ),
            run_option,
            click.option("--corpus", metavar="NAME|DIR", help="The real text.  [default: what the run was trained on]"),
            data_dir_option,
            click.option(
                "--lm",
                type=click.Choice([f"kn{order}" for order in range(2, 7)]),
                default="kn5",
                show_default=True,
                help="The judge: Kneser-Ney of this order.",
            ),
            click.option(
                "--protocol",
                type=click.Choice(["default", "arae"]),
                default="default",
                show_default=True,
                help="What is counted and how the vocabulary is closed; arae: as that paper's script does.",
            ),
            click.option(
                "--split",
                type=click.Choice(["test", "valid"]),
                default="test",
                show_default=True,
                help="The held-out real text; use valid for choices.",
            ),
            click.option(
                "-n",
                "n",
                type=click.IntRange(min=1),
                help="How many samples.  [default: all in the file; for a run as many as training sentences]",
            ),
            click.option(
                "--temperature",
                "temperatures",
                type=click.FloatRange(min=0, min_open=True),
                multiple=True,
                callback=_check_each,
                help="Judge the run at this decoding temperature; repeatable.  [default: its newest samples]",
            ),
            click.option(
                "--seed",
                type=click.IntRange(0, MAX_SEED),
                help="Judge the run's samples of this seed; also seeds the bootstrap.  [default: 1]",
            ),
            click.option(
                "--calibrate",
                is_flag=True,
                help="Also judge texts of known quality: n-gram samples, training text, a repeated block.",
            ),
            click.option("--diversity", is_flag=True, help="Also BLEU, self-BLEU, distinct-n and repetition."),
            backend_option,
            json_option,
            click.option(
                "-o",
                "--output",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Write the report as JSON.  [default: into the run's eval/; nowhere for --samples]",
                metavar="FILE",
            ),
        ]
    ):
        command = option(command)
    return command
