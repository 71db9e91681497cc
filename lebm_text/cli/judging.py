"""What `fppl` and `rppl` share, and names that move to the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from lebm_text.reports.needs import check_judges
from lebm_text.text.reading import read_text

from .options import judge_options

__all__ = ["check_judges", "metric_options", "read_text", "show_progress", "show_stage"]


def show_stage(stage: str) -> None:
    """Say what begins, to a terminal."""
    if sys.stderr.isatty():
        click.echo(stage, err=True)


def show_progress(*, quiet: bool) -> Callable[[str], None]:
    """A function that shows how a training of minutes goes, a line an epoch; `quiet`: to a terminal only."""
    return show_stage if quiet else partial(click.echo, err=True)


def metric_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `fppl` and `rppl`: `judge_options` and what they can show beside the figure."""
    for option in (
        click.option("--diversity", is_flag=True, help="Also BLEU, self-BLEU, distinct-n and repetition."),
        click.option(
            "--calibrate",
            is_flag=True,
            help="Also judge texts of known quality: n-gram samples, training text, a repeated block.",
        ),
        judge_options(lm="both; kn5 for arae, lstm for lebm", temperatures="1"),
    ):
        command = option(command)
    return command
