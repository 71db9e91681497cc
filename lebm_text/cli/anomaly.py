"""`lebm-text anomaly`: how well scores tell normal sentences from anomalous ones, and the corpora for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, atomic_write_text, sha256_file

from .options import data_dir_option, device_option, json_option
from .score import scoring_options

if TYPE_CHECKING:
    from lebm_text.text.corpora import Corpus
    from lebm_text.text.labels import Labelled

__all__ = ["command"]

PROTOCOL = "protocol.json"
_STRENGTH: dict[str, Any] = {
    "type": click.FloatRange(0, 1, min_open=True),
    "multiple": True,
    "metavar": "SHARE",
}


@click.group(no_args_is_help=False)
def command() -> None:
    """Tell anomalous sentences from normal ones by scores of models, beside baselines."""


@command.command("prepare")
@click.argument("corpus")
@data_dir_option
@click.option("--hold-out", "held_out", metavar="CLASS", required=True, help="The anomalous class, by name or label.")
@click.option("--min-count", type=click.IntRange(1), default=3, show_default=True, help="Rarer words become <unk>.")
@click.option(
    "--max-length",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Longer sentences, in words, are left out.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The new corpus directory; must not exist, or be empty.",
)
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
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already; choose another directory with -o")

    from lebm_text.reports.holdout import ANOMALIES, CLASS_NAMES, hold_out, resolve_class
    from lebm_text.text.corpora import find_corpus

    found = find_corpus(corpus, data_dir=data_dir)
    labelled = _labelled(found)
    label = resolve_class(held_out, [pair.label for pair in labelled["train"]], CLASS_NAMES.get(found.name, ()))
    parted = hold_out(labelled, label, min_count=min_count, max_length=max_length)
    protocol = {
        "protocol": "leave-one-class-out",
        "corpus": found.describe(),
        "held_out": held_out,
        "label": label,
        "min_count": min_count,
        "max_length": max_length,
        **parted.counts,
        "version": __version__,
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {output}: {error.strerror}") from None
    hashes = {}
    files = {**{f"{split}.txt": lines for split, lines in parted.splits.items()}, ANOMALIES: parted.anomalies}
    for name, lines in files.items():
        atomic_write_text(output / name, "".join(f"{line}\n" for line in lines))
        hashes[name] = sha256_file(output / name)
    protocol["sha256"] = hashes
    atomic_write_json(output / PROTOCOL, protocol)
    if as_json:
        click.echo(json.dumps(protocol))
        return
    counts = parted.counts
    click.echo(
        f"{output}: without {held_out}: {counts['n_train']:,} train, {counts['n_valid']:,} valid and "
        f"{counts['n_test']:,} test sentences of {counts['n_words']:,} words; {counts['n_anomalies']:,} anomalies; "
        f"{counts['n_too_long']:,} of all classes left out, longer than {max_length} words",
        err=True,
    )


@command.command("eval")
@click.argument("corpus")
@data_dir_option
@click.option(
    "--run",
    "runs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A run trained on the normal text; repeatable. One without a learned prior is a baseline.",
)
@click.option(
    "--anomalous",
    metavar="FILE|CORPUS",
    multiple=True,
    help="Anomalies: a text, or a corpus's test split; repeatable. anomalies.txt in CORPUS takes part anyway.",
)
@click.option(
    "--swap", "swaps", **_STRENGTH, help="Normal sentences with this share of their words permuted; repeatable."
)
@click.option(
    "--replace",
    "replacements",
    **_STRENGTH,
    help="… with this share of their words replaced by unigram draws; repeatable.",
)
@click.option(
    "--split", type=click.Choice(["test", "valid"]), default="test", show_default=True, help="Normal sentences."
)
@click.option(
    "-n", "n", type=click.IntRange(2), help="Sentences of each kind at most, a seeded choice.  [default: all]"
)
@scoring_options
@click.option(
    "--rare-words",
    type=click.IntRange(2),
    metavar="N",
    help="How many words <unk> stands for; scores where each <unk> costs log N nats more stand beside the plain ones.  "
    "[default: n_rare_words in CORPUS's protocol.json]",
)
@click.option("--resamples", type=click.IntRange(20, 100_000), default=500, show_default=True, help="Of the bootstrap.")
@device_option
@json_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report as JSON, pictures beside it.  [default: anomaly-CORPUS.json in the first run's eval/]",
)
def evaluate(**options: Any) -> None:
    """Area under the ROC and the precision-recall curve of every score, with intervals, on CORPUS's test text.

    CORPUS is what `anomaly prepare` made, or any: its test sentences are normal. Anomalies are positive; nothing is
    fitted to them. Baselines that need no run stand in the same table: length, unknown words, and an n-gram model of
    the training text. Each run with a learned prior is compared with each baseline, on the same resampled sentences.
    """
    from .anomaly_eval import Request
    from .anomaly_eval import evaluate as measure

    measure(Request(**options))


def _labelled(corpus: Corpus) -> dict[str, list[Labelled]]:
    """The sentences of each split with their labels; InputError if there are none, or not one a line."""
    from lebm_text.text.labels import label_path, read_labelled

    found = {}
    for name, split in corpus.splits.items():
        path = label_path(split.path)
        if not path.is_file():
            raise InputError(
                f"{corpus.name} has no labels: {path} should hold the class of each line of {split.path.name}"
            )
        found[name] = read_labelled(split.path, path)
    return found
