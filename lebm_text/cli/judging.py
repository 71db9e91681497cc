"""Options and processing that `fppl`, `rppl`, `evaluate` and `fed` share: find texts, judge them, show the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from lebm_text.errors import InputError
from lebm_text.plugins import class_or
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

SAMPLES_REPORT = "in the run's eval/; not written for --samples"

R = TypeVar("R", bound=Report)


class _JudgeName(click.Choice[str]):
    """The name of a judge of the package, or a plug-in with its settings, which `lm_eval` checks."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        class_or("judge", str(value).partition(",")[0], tuple(self.choices))
        return value


def _once_each(_ctx: click.Context, _param: click.Parameter, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Callback: remove repeated values."""
    return tuple(dict.fromkeys(given))


# fmt: off
def sample_options(*, n: str, temperatures: str) -> Decorator:
    """Return the options that choose samples and real text; the arguments describe defaults in the help."""
    return all_of(
        click.option("--samples", type=INPUT, multiple=True, callback=_once_each,
                     help="Text to judge, from any system: one sentence per line, or .jsonl, .json, .csv, .tsv, "
                     ".parquet; repeatable, for a row each.  [default: samples of the run]"),
        text_column_option,
        run_option,
        click.option("--corpus", metavar="NAME|DIR",
                     help="The real text; needed with --samples if there is no run.  [default: what the run was "
                     "trained on]"),
        data_dir_option,
        field_option(TextSettings, "split", help="The held-out real text; use valid for model selection."),
        field_option(TextSettings, "n", "-n", help=f"Number of samples.  [default: {n}]"),
        field_option(TextSettings, "temperatures", "--temperature", callback=_once_each,
                     help=f"Judge the run at this decoding temperature; repeatable.  [default: {temperatures}]"),
        field_option(TextSettings, "seeds", "--seed", callback=_once_each,
                     help="Judge the run's samples of this seed; repeatable. The first also seeds the choice of "
                     "sentences from texts.  [default: 1]"),
        field_option(TextSettings, "tokenize",
                     help="The samples are raw text: tokenize and lower-case them as the corpus is."),
    )


def judge_options(*, lm: str, temperatures: str) -> Decorator:
    """Return the options of commands that judge samples by perplexity; the arguments describe defaults in the help."""
    return all_of(
        sample_options(n="all of a text; of a run as many as training sentences", temperatures=temperatures),
        click.option("--lm", type=_JudgeName(JUDGES),
                     help="The judge: knN is a Kneser-Ney model of order N; both is kn5 and lstm; "
                     "package.module:Class is a plug-in.  "
                     f"[default: {lm}]"),
        field_option(JudgeSettings, "protocol",
                     help="Convention for counted tokens, closed vocabulary and default judge; arae and lebm follow "
                     "those papers."),
        field_option(JudgeSettings, "judge_seeds",
                     help="Train the LSTM judge from this many seeds, for the standard deviation."),
        click.option("--diversity", is_flag=True,
                     help="Also compute BLEU, self-BLEU, distinct-n, repetition and the share of n-grams found in the "
                     "training text."),
        field_option(JudgeSettings, "ngram_backend",
                     help="Estimate with numpy, or with KenLM's lmplz from PATH (for texts larger than memory)."),
        report_options(SAMPLES_REPORT),
    )
# fmt: on


def judge(
    compute: Callable[..., R],
    settings_of: Callable[..., TextSettings],
    kind: str,
    *,
    samples: tuple[Path, ...],
    run: Path | None,
    corpus: str | None,
    data_dir: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> R | None:
    """Compute, print and write a report on `samples`, or without any on a run (None: the newest).

    `settings_of` makes its settings. By default it is written to the run's eval/, to a file whose name begins with
    `kind`. The real text is `corpus`, or that of the run.

    Returns:
        The report; None in all processes but the first.

    Raises:
        InputError: both `samples` and `run` are given, or a setting or file is not valid.
    """
    if samples and run is not None:
        raise InputError("--samples names a text and --run a run whose samples are judged: give one of them")
    settings = settings_of(**options)
    name = settings.file_name(kind)  # raises InputError for bad settings before a run is looked for
    try:
        found = None if samples and corpus is not None else Run.find(run, data_dir=data_dir)
    except InputError:
        if not samples:
            raise
        raise InputError("name the real text by --corpus; there is no run whose text could be taken") from None
    judged = None if samples else found
    processes = click.get_current_context().with_resource(joined(settings.device))
    real: RealSource = found
    if corpus is not None:
        real = processes.first_then_others(lambda: find_corpus(corpus, data_dir=data_dir))
        if judged is not None and not judged.described_corpus.is_of(real):  # the name may be the same
            name = f"{name}-{real.name}"
    distinct = len({path.name for path in samples}) == len(samples)
    several = {path.name if distinct else str(path): path for path in samples}
    source = several if len(samples) > 1 else next(iter(samples), found)
    work = partial(compute, source, settings, processes=processes, corpus=real)
    return make_report(work, judged, name, output, as_json=as_json, processes=processes)
