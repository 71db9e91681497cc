"""`lebm-text anomaly`: corpora without a class, and how well scores tell normal sentences from anomalous ones."""

from __future__ import annotations

import json
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
from .streams import print_note, print_text

__all__ = ["command"]


@click.group("anomaly", cls=Group, no_args_is_help=False)
def command() -> None:
    """Tell anomalous sentences from normal ones by scores of models, beside baselines."""


@command.command("prepare")
@click.argument("corpus")
@data_dir_option
@click.option("--hold-out", "held_out", metavar="CLASS", required=True, help="The anomalous class, by name or label.")
@click.option("--min-count", type=whole(), default=3, help="Rarer words become <unk>.")
@click.option("--max-length", type=whole(), default=40, help="Longer sentences, in words, are left out.")
@click.option("-o", "--output", type=NEW_DIRECTORY, required=True, metavar="DIR",
              help="The new corpus directory; must not exist, or be empty.")  # fmt: skip
@json_option
def prepare(
    corpus: str, data_dir: Path | None, held_out: str, min_count: int, max_length: int, output: Path, as_json: bool
) -> None:
    """Make a corpus without one class of CORPUS, whose test sentences of that class become the anomalies.

    CORPUS needs label files, train.label and so on beside train.txt, a label a line. DIR gets train.txt, valid.txt
    and test.txt of the other classes, anomalies.txt and protocol.json, ready for `lebm-text train DIR` and
    `lebm-text anomaly eval DIR`. Words that the other classes' training text has fewer than --min-count times are
    <unk> in all of them.
    """
    found = find_corpus(corpus, data_dir=data_dir)
    counts = anomaly_texts.prepare(found, held_out, output, min_count=min_count, max_length=max_length).counts
    if as_json:
        return print_text(json.dumps(read_json(output / anomaly_texts.PROTOCOL)))
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
              "One without a learned prior is a baseline.")  # fmt: skip
@trust_option
@click.option("--anomalous", metavar="FILE|CORPUS", multiple=True, help="Anomalies: a text, or a corpus's test split; "
              "repeatable. anomalies.txt in CORPUS takes part anyway.")  # fmt: skip
@field_option(AnomalySettings, "swaps", "--swap", metavar="SHARE",
              help="Normal sentences with this share of their words permuted; repeatable.")  # fmt: skip
@field_option(AnomalySettings, "replacements", "--replace", metavar="SHARE",
              help="… with this share of their words replaced by unigram draws; repeatable.")  # fmt: skip
@field_option(AnomalySettings, "split", help="Normal sentences.")
@field_option(AnomalySettings, "n", "-n", help="Sentences of each kind at most, a seeded choice.  [default: all]")
@scoring_options(AnomalySettings)
@field_option(AnomalySettings, "rare_words", metavar="N",
              help="How many words <unk> stands for; scores where each <unk> costs log N nats more stand beside "
              "the plain ones.  [default: n_rare_words in CORPUS's protocol.json]")  # fmt: skip
@field_option(AnomalySettings, "resamples", help="Of the bootstrap.")
@report_options("anomaly-CORPUS.json in the first run's eval/; nowhere without one")
def evaluate(corpus: str, runs: tuple[Path, ...], as_json: bool, output: Path | None, **settings: Any) -> None:
    """Area under the ROC and the precision-recall curve of every score, with intervals, on CORPUS's test text.

    CORPUS is what `anomaly prepare` made, or any: its test sentences are normal. Anomalies are positive; nothing is
    fitted to them. Baselines that need no run stand in the same table: length, unknown words, and an n-gram model of
    the training text. Each run with a learned prior is compared with each baseline, on the same resampled sentences.
    """
    found = find_corpus(corpus, data_dir=settings["data_dir"])
    taking_part = [Run.find(run) for run in runs]
    work = partial(compute, found, taking_part, AnomalySettings(**settings))
    make_report(work, taking_part[0] if runs else None, f"anomaly-{found.name}", output, as_json=as_json)
