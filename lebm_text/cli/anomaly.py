"""`lebm-text anomaly`: prepare corpora for anomaly detection, and evaluate how well scores detect anomalies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.reports import anomaly_texts
from lebm_text.reports.anomaly import AnomalySettings, compute
from lebm_text.run import Run
from lebm_text.store import read_json
from lebm_text.text.corpora import find_corpus

from .console import make_report
from .options import (
    NEW_DIRECTORY,
    RUN,
    data_dir_option,
    field_option,
    json_option,
    report_options,
    scoring_options,
    trust_option,
    whole,
)
from .parameters import Group
from .streams import print_json, print_note

__all__ = ["command"]


@click.group("anomaly", cls=Group, no_args_is_help=False)
def command() -> None:
    """Detect anomalous sentences by the scores of models, and compare them with baselines."""


@command.command("prepare")
@click.argument("corpus")
@data_dir_option
@click.option("--hold-out", "held_out", metavar="CLASS", required=True, help="The anomalous class: its name or label.")
@click.option("--min-count", type=whole(), default=3, help="Replace words that occur less often by <unk>.")
@click.option("--max-length", type=whole(), default=40, help="Leave out sentences of more words.")
@click.option("-o", "--output", type=NEW_DIRECTORY, required=True, metavar="DIR",
              help="Directory of the new corpus; it must not exist or must be empty.")  # fmt: skip
@json_option
def prepare(
    corpus: str, data_dir: Path | None, held_out: str, min_count: int, max_length: int, output: Path, as_json: bool
) -> None:
    """Make a corpus of all classes of CORPUS but one; the test sentences of that class become the anomalies.

    CORPUS needs label files (train.label next to train.txt, and so on) with one label per line. DIR then contains
    train.txt, valid.txt and test.txt of the other classes, anomalies.txt and protocol.json, ready for
    `lebm-text train DIR` and `lebm-text anomaly eval DIR`. Words that occur fewer than --min-count times in the
    training text of the other classes are replaced by <unk> in all of these texts.
    """
    found = find_corpus(corpus, data_dir=data_dir)
    counts = anomaly_texts.prepare(found, held_out, output, min_count=min_count, max_length=max_length)
    if as_json:
        return print_json(read_json(output / anomaly_texts.PROTOCOL))
    text = (
        "{n_train:,} train, {n_valid:,} valid and {n_test:,} test sentences of {n_words:,} words; {n_anomalies:,} "
        "anomalies; {n_too_long:,} of all classes left out, longer than"
    ).format_map(counts)
    return print_note(f"{output}: without {held_out}: {text} {max_length} words")


@command.command("eval")
@click.argument("corpus")
@data_dir_option
@click.option("--run", "runs", type=RUN, multiple=True,
              help="A run trained on the normal text; repeatable. "
              "A run without a learned prior is a baseline.")  # fmt: skip
@trust_option
@click.option("--anomalous", metavar="FILE|CORPUS", multiple=True,
              help="Anomalies: a text, or the test split of a corpus; repeatable. "
              "anomalies.txt in CORPUS is always included.")  # fmt: skip
@field_option(AnomalySettings, "swaps", "--swap", metavar="SHARE",
              help="Also make anomalies of normal sentences by permuting this share of their words; "
              "repeatable.")  # fmt: skip
@field_option(AnomalySettings, "replacements", "--replace", metavar="SHARE",
              help="Also make anomalies by replacing this share of their words by draws from the unigram "
              "distribution; repeatable.")  # fmt: skip
@field_option(AnomalySettings, "split", help="Split of CORPUS with the normal sentences.")
@field_option(AnomalySettings, "n", "-n", help="Use at most N sentences of each kind, drawn at random.  [default: all]")
@scoring_options(AnomalySettings)
@field_option(AnomalySettings, "rare_words", metavar="N",
              help="How many words <unk> stands for. The main scores are also given with log N nats added per <unk>.  "
              "[default: n_rare_words in CORPUS's protocol.json]")  # fmt: skip
@field_option(AnomalySettings, "resamples", help="Bootstrap resamples for the intervals.")
@report_options("anomaly-CORPUS.json in the first run's eval/; not written without a run")
def evaluate(corpus: str, runs: tuple[Path, ...], as_json: bool, output: Path | None, **settings: Any) -> None:
    """Compute the area under the ROC and precision-recall curves of every score, with 95 % confidence intervals.

    CORPUS is a corpus made by `anomaly prepare`, or any other; its test sentences are the normal ones. Anomalies are
    the positive class; nothing is fitted to them. The table also has baselines that need no run: length, number of
    unknown words, and an n-gram model of the training text. Each run with a learned prior is compared with each
    baseline on the same bootstrap resamples.
    """
    found = find_corpus(corpus, data_dir=settings["data_dir"])
    taking_part = [Run.find(run) for run in runs]
    work = partial(compute, found, taking_part, AnomalySettings(**settings))
    make_report(work, taking_part[0] if runs else None, f"anomaly-{found.name}", output, as_json=as_json)
