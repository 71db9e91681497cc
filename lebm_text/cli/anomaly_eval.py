"""`lebm-text anomaly eval`: how well scores tell normal sentences from anomalous ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.reports.anomaly import AnomalySettings, compute
from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus

from .console import make_report
from .options import RUN, SHARE, data_dir_option, report_options, scoring_options, split_option, whole
from .plugged import trust_option

__all__ = ["evaluate"]


@click.command("eval")
@click.argument("corpus")
@data_dir_option
@click.option("--run", "runs", type=RUN, multiple=True,
              help="A run trained on the normal text; repeatable. "
              "One without a learned prior is a baseline.")  # fmt: skip
@trust_option
@click.option("--anomalous", metavar="FILE|CORPUS", multiple=True, help="Anomalies: a text, or a corpus's test split; "
              "repeatable. anomalies.txt in CORPUS takes part anyway.")  # fmt: skip
@click.option("--swap", "swaps", type=SHARE, multiple=True, metavar="SHARE",
              help="Normal sentences with this share of their words permuted; repeatable.")  # fmt: skip
@click.option("--replace", "replacements", type=SHARE, multiple=True, metavar="SHARE",
              help="… with this share of their words replaced by unigram draws; repeatable.")  # fmt: skip
@split_option("test", "valid", help_text="Normal sentences.")
@click.option("-n", type=whole(2), help="Sentences of each kind at most, a seeded choice.  [default: all]")
@scoring_options
@click.option("--rare-words", type=whole(2), metavar="N", help="How many words <unk> stands for; scores where "
              "each <unk> costs log N nats more stand beside the plain ones.  "
              "[default: n_rare_words in CORPUS's protocol.json]")  # fmt: skip
@click.option("--resamples", type=click.IntRange(20, 100_000), default=500, help="Of the bootstrap.")
@report_options("anomaly-CORPUS.json in the first run's eval/")
def evaluate(corpus: str, runs: tuple[Path, ...], as_json: bool, output: Path | None, **settings: Any) -> None:
    """Area under the ROC and the precision-recall curve of every score, with intervals, on CORPUS's test text.

    CORPUS is what `anomaly prepare` made, or any: its test sentences are normal. Anomalies are positive; nothing is
    fitted to them. Baselines that need no run stand in the same table: length, unknown words, and an n-gram model of
    the training text. Each run with a learned prior is compared with each baseline, on the same resampled sentences.
    """
    if not (runs or output):
        raise InputError("without a --run the report has no place of its own; say where with -o FILE")
    found, taking_part = find_corpus(corpus, data_dir=settings["data_dir"]), [Run.find(run) for run in runs]
    run, name = taking_part[0] if runs else None, f"anomaly-{found.name}"
    work = partial(compute, found, taking_part, AnomalySettings(**settings))
    make_report(work, run, name, output, as_json=as_json)
