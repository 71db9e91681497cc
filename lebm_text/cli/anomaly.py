"""`lebm-text anomaly`: corpora without a class, and how well scores tell normal sentences from anomalous ones."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lebm_text.reports import anomaly_texts
from lebm_text.store import read_json
from lebm_text.text.corpora import find_corpus

from .anomaly_eval import evaluate
from .options import NEW_DIRECTORY, data_dir_option, json_option, whole
from .streams import print_note, print_text

__all__ = ["command"]


@click.group("anomaly", no_args_is_help=False)
def command() -> None:
    """Tell anomalous sentences from normal ones by scores of models, beside baselines."""


@command.command("prepare")
@click.argument("corpus")
@data_dir_option
@click.option("--hold-out", "held_out", metavar="CLASS", required=True, help="The anomalous class, by name or label.")
@click.option("--min-count", type=whole(), default=3, help="Rarer words become <unk>.")
@click.option("--max-length", type=whole(), default=40,
              help="Longer sentences, in words, are left out.")  # fmt: skip
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


command.add_command(evaluate)
