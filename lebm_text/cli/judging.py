"""What `fppl`, `rppl`, `evaluate` and `fed` do alike: find the texts that were named, judge them, show the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError
from lebm_text.plugins import is_named
from lebm_text.processes import joined
from lebm_text.reports.base import Report
from lebm_text.reports.judging import JudgeSettings
from lebm_text.reports.texts import RealSource, TextSettings
from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus
from lm_eval.judges import JUDGES

from .console import make_report
from .options import (
    INPUT,
    Decorator,
    all_of,
    data_dir_option,
    field_option,
    report_options,
    run_option,
    text_column_option,
)

__all__ = ["SAMPLES_REPORT", "judge", "judge_options", "sample_options"]

SAMPLES_REPORT = "into the run's eval/; nowhere for --samples"

R = TypeVar("R", bound=Report)


class _JudgeName(click.Choice[str]):
    """A judge of the package's own, or a plug-in with its settings, which `lm_eval` looks for."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = str(value).partition(",")[0]
        return value if is_named("judge", name) else super().convert(value, param, ctx)


def _once_each(_ctx: click.Context, _param: click.Parameter, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Callback of a repeatable option."""
    return tuple(dict.fromkeys(given))


# fmt: off
def sample_options(*, n: str, temperatures: str) -> Decorator:
    """Which samples, and beside which real text; the arguments say what the defaults are."""
    return all_of(
        click.option("--samples", type=INPUT,
                     help="Text to judge, from any system: a sentence a line, or .jsonl, .json, .csv, .tsv, .parquet.  "
                     "[default: those of the run]"),
        text_column_option,
        run_option,
        click.option("--corpus", metavar="NAME|DIR", help="The real text.  [default: what the run was trained on]"),
        data_dir_option,
        field_option(TextSettings, "split", help="The held-out real text; use valid for choices."),
        field_option(TextSettings, "n", "-n", help=f"How many samples.  [default: {n}]"),
        field_option(TextSettings, "temperatures", "--temperature", callback=_once_each,
                     help=f"Judge the run at this decoding temperature; repeatable.  [default: {temperatures}]"),
        field_option(TextSettings, "seeds", "--seed", callback=_once_each,
                     help="Judge the run's samples of this seed; repeatable; the first seeds all draws from texts.  "
                     "[default: 1]"),
        field_option(TextSettings, "tokenize",
                     help="The samples are raw text: separate their words, and lower-case them, as the corpus has it."),
    )


def judge_options(*, lm: str, temperatures: str) -> Decorator:
    """The options of every command that judges samples by perplexities; the arguments say what the defaults are."""
    return all_of(
        sample_options(n="all in the file; for a run as many as training sentences", temperatures=temperatures),
        click.option("--lm", type=_JudgeName(JUDGES),
                     help="The judge: Kneser-Ney of this order, an LSTM, kn5 and the LSTM, or package.module:Class.  "
                     f"[default: {lm}]"),
        field_option(JudgeSettings, "protocol",
                     help="What is counted, how the vocabulary is closed, who judges; arae, lebm: as those papers do."),
        field_option(JudgeSettings, "judge_seeds", help="Train the LSTM judge from so many seeds, for the spread."),
        click.option("--diversity", is_flag=True,
                     help="Also BLEU, self-BLEU, distinct-n, repetition and n-grams of the training text."),
        field_option(JudgeSettings, "ngram_backend",
                     help="Estimate here, or with KenLM's lmplz from PATH (for texts larger than memory)."),
        report_options(SAMPLES_REPORT),
    )
# fmt: on


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
