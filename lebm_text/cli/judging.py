"""What `fppl`, `rppl`, `evaluate` and `fed` do alike: find the texts that were named, judge them, show the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError
from lebm_text.processes import joined
from lebm_text.reports.base import Report
from lebm_text.reports.texts import RealSource, TextSettings
from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus

from .console import make_report

__all__ = ["judge"]

R = TypeVar("R", bound=Report)


def judge(
    compute: Callable[..., R],
    settings_of: Callable[..., TextSettings],
    kind: str,
    *,
    samples: Path | None,
    run: Path | None,
    corpus: str | None,
    data_dir: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> R | None:
    """The report, shown and written (for a run into its eval/, under `kind`); None in all processes but the first."""
    if samples is not None and run is not None:
        raise InputError("--samples names a text and --run a run whose samples are judged: give one of them")
    settings = settings_of(**options)
    name = settings.file_name(kind)  # refuses before a run is looked for
    found = None if samples is not None and corpus is not None else Run.find(run, data_dir=data_dir)
    judged = found if samples is None else None
    processes = click.get_current_context().with_resource(joined(settings.device))
    real: RealSource = found
    if corpus is not None:
        real = processes.first_then_others(lambda: find_corpus(corpus, data_dir=data_dir))
        if judged is not None and real.name != judged.corpus_name:
            name = f"{name}-{real.name}"
    work = partial(compute, samples or found, settings, processes=processes, corpus=real)
    return make_report(work, judged, name, output, as_json=as_json, processes=processes)
