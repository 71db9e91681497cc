"""`lebm-text score`: score how anomalous each sentence of a text is under a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.likelihood.sentences import AISSettings
from lebm_text.reports.scores import Scorer, ScoreSettings, format_lines, score_lines
from lebm_text.run import Run
from lebm_text.store import atomic_write_text, check_ending, check_writable
from lebm_text.text.reading import read_records
from lebm_text.text.sources import STDIN

from .console import progress
from .options import INPUT, device_options, field_option, output_option, run_option, scoring_options
from .parameters import Command
from .streams import print_note, print_text

__all__ = ["command"]

_FORMATS = {
    "jsonl": ("scores are JSON lines, or TSV by --format tsv", (".jsonl", ".ndjson", ".json")),
    "tsv": ("by --format tsv scores are TSV", (".tsv",)),
}


@click.command("score", cls=Command)
@click.argument("file", type=INPUT, default="-")
@run_option
@scoring_options(ScoreSettings)
@field_option(ScoreSettings, "as_trained",
              help="Give the posterior chain the noise and likelihood weight that training ended with.")  # fmt: skip
@click.option("--log-z", is_flag=True, help="Estimate log Z of the prior, so that p(x, z) is normalised.")
@click.option("--bound", is_flag=True, help="Also bound log p(x) from below by AIS, with log Z; slow.")
@field_option(AISSettings, "n_steps", "--ais-steps", "ais_steps", default=None,
              help=f"AIS steps of --bound.  [default: {AISSettings.n_steps}]")  # fmt: skip
@field_option(AISSettings, "n_chains", "--ais-chains", "ais_chains", default=None,
              help=f"AIS chains per sentence of --bound.  [default: {AISSettings.n_chains}]")  # fmt: skip
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="jsonl", help="Format of the scores.")
@output_option("Write the scores to this file.  [default: standard output]")
@device_options()
def command(file: Path, run: Path | None, output: Path | None, form: str, bound: bool, **options: Any) -> None:
    """Score sentences, one per line, from FILE or standard input: −log p(x, z) and its parts; high means anomalous.

    Scores are averages over posterior draws of z, with Langevin noise 1, in nats; *_per_token is divided by the number
    of tokens, with </s>. An empty line is a sentence without words. A sentence longer than the model's maximum gets a
    line of output without scores. log Z, which is the same for all sentences, is left out without --log-z or --bound.
    """
    steps, chains = options.pop("ais_steps"), options.pop("ais_chains")
    if not bound and (steps or chains):
        raise click.UsageError("--ais-steps and --ais-chains are of --bound, which is not given")
    ais = AISSettings(steps or AISSettings.n_steps, chains or AISSettings.n_chains) if bound else None
    if output is not None:
        what, own = _FORMATS[form]
        check_ending(output, what, *own, compressed=True)
        check_writable(output)
    found = read_records(file, options.pop("text_column"))
    lines = found if output is None and file == STDIN else list(found)  # a bad file is refused before scoring
    how = {name: options.pop(name) for name in ("log_z", "device", "precision")}
    with progress(quiet=False) as on_progress:
        scorer = Scorer.of_run(Run.find(run), ScoreSettings(**options, bound=ais), **how, on_progress=on_progress)
        if output is not None:
            atomic_write_text(output, "".join(format_lines(score_lines(scorer, lines, on_progress), form)))
            print_note(f"scores: {output}")
            return
    for text in format_lines(score_lines(scorer, lines), form):
        print_text(text, end="")
