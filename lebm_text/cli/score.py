"""`lebm-text score`: how anomalous each sentence of a text is under a model, one line a sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError
from lebm_text.text.reading import parse_lines, read_lines

from .console import progress as console_progress
from .options import device_option, scoring_options
from .sampling import find_run, progress, run_option

if TYPE_CHECKING:
    from lebm_text.likelihood.partition import LogPartition
    from lebm_text.model import LatentEBM
    from lebm_text.reports.scores import Scorer, SentenceScore

__all__ = ["command"]

CHUNK = 256  # lines that are scored together; none waits for more
_FIGURES = ("score", "log_likelihood", "log_prior", "elbo", "log_p_lower")


@click.command("score")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@run_option
@scoring_options
@click.option(
    "--as-trained", is_flag=True, help="Give the chain the noise and the weight of the likelihood of training."
)
@click.option("--log-z", "with_log_z", is_flag=True, help="Estimate log Z of the prior and take it off.")
@click.option("--bound", is_flag=True, help="Also bound log p(x) from below by AIS, with log Z; slow.")
@click.option("--ais-steps", type=click.IntRange(2, 1_000_000), help="Of --bound.  [default: 500]")
@click.option("--ais-chains", type=click.IntRange(1, 4096), help="Of --bound.  [default: 8]")
@click.option("--format", "form", type=click.Choice(["jsonl", "tsv"]), default="jsonl", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here.  [default: standard output]"
)
@device_option
def command(
    file: Path | None,
    run: Path | None,
    n_draws: int,
    n_steps: int | None,
    seed: int,
    precision: str,
    as_trained: bool,
    with_log_z: bool,
    bound: bool,
    ais_steps: int | None,
    ais_chains: int | None,
    form: str,
    output: Path | None,
    device: str,
) -> None:
    """Score sentences, one a line, from FILE or standard input: −log p(x, z), high is anomalous, and its parts.

    Averages over posterior draws of z at noise 1. All figures are in nats; *_per_token divides by the tokens with
    </s>. An empty line is the sentence that ends at once; a line longer than the model takes gets no figures but a
    line all the same. log Z, the same for all sentences, is left out unless --log-z or --bound asks for it.
    """
    if not bound and (ais_steps is not None or ais_chains is not None):
        raise click.UsageError("--ais-steps and --ais-chains are of --bound, which is not given")
    run = find_run(run)
    lines: Iterable[str]
    from_stdin = file is None or str(file) == "-"
    lines = parse_lines(sys.stdin.buffer, "standard input") if from_stdin else read_lines(Path(str(file)))
    if output is not None or not from_stdin:
        lines = list(lines)  # refused before the first score, not after the last

    from lebm_text.likelihood.sentences import AISSettings
    from lebm_text.model import LatentEBM
    from lebm_text.reports.scores import Scorer, ScoreSettings
    from lebm_text.store import atomic_write_text, check_writable

    if output is not None:
        check_writable(output)
    model = LatentEBM.from_pretrained(run, device=device, precision=precision)
    settings = ScoreSettings(n_draws, n_steps, as_trained, seed=seed)
    scorer = Scorer(model, settings)  # refuses before log Z is estimated
    if with_log_z or bound:
        partition = _partition_or_none(model, seed, required=bound)
        ais = AISSettings(ais_steps or AISSettings.n_steps, ais_chains or AISSettings.n_chains) if bound else None
        scorer = Scorer(model, replace(settings, bound=ais), partition=partition)
    if scorer.log_z is None:
        click.echo("log Z of the prior is left out: it shifts all scores alike (--log-z estimates it)", err=True)
    if output is not None and isinstance(lines, list):
        with progress(len(lines), "scored", quiet=False) as say:
            text = "".join(_formatted(lines, scorer, form, say))
        atomic_write_text(output, text)
        click.echo(f"scores: {output}", err=True)
        return
    for text in _formatted(lines, scorer, form, lambda _done: None):
        click.echo(text.encode(), nl=False)  # UTF-8, whatever the locale


def _partition_or_none(model: LatentEBM, seed: int, *, required: bool) -> LogPartition | None:
    """log Z of the model's prior; where the ways to it disagree, None and a word on stderr, or InputError."""
    from lebm_text.likelihood.partition import TOLERANCE, partition_of

    with console_progress(quiet=False) as on_progress:
        prior = model.model.prior
        partition = partition_of(prior, seed=seed, device=model.device, on_progress=on_progress)
    if partition.disagreement <= TOLERANCE:
        return partition
    message = f"estimates of log Z differ by {partition.disagreement:.3f} nat, more than {TOLERANCE:g}"
    if required:
        raise InputError(f"{message}: there is no bound on log p(x)")
    click.echo(f"{message}: it is left out", err=True)
    return None


def _formatted(lines: Iterable[str], scorer: Scorer, form: str, on_progress: Callable[[int], None]) -> Iterator[str]:
    """The output for some lines at a time, in order, each as soon as it is known; then a word on what was left out."""
    remaining, done, n_too_long = iter(lines), 0, 0
    while chunk := list(islice(remaining, CHUNK)):
        scores = scorer(chunk, first=done)
        n_too_long += scores.count(None)
        records = [
            _record(done + i, line, score, scorer.log_z)
            for i, (line, score) in enumerate(zip(chunk, scores, strict=True), 1)
        ]
        if form == "tsv" and not done:
            yield "\t".join(records[0]) + "\n"
        for record in records:
            yield _tsv(record) if form == "tsv" else json.dumps(record, ensure_ascii=False) + "\n"
        done += len(chunk)
        on_progress(done)
    if n_too_long:
        longest = scorer.model.config.text.max_length
        click.echo(f"{n_too_long:,} of {done:,} sentences have no score: more than {longest:,} tokens", err=True)


def _record(number: int, sentence: str, score: SentenceScore | None, log_z: float | None) -> dict[str, Any]:
    """One line of output; the same keys whatever is known."""
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    n_tokens = n_unk = None
    if score is not None:
        n_tokens, n_unk = score.n_tokens, score.n_unk
        figures |= {name: getattr(score, name) for name in _FIGURES}
    per_token = {
        f"{name}_per_token": None if (value := figures[name]) is None or n_tokens is None else value / n_tokens
        for name in _FIGURES
    }
    error = None if score is None else score.log_p_lower_error
    return {
        "line": number,
        **figures,
        **per_token,
        "log_p_lower_error": error,
        "n_tokens": n_tokens,
        "n_unk": n_unk,
        "log_z": log_z,
        "sentence": sentence,
    }


def _tsv(record: Mapping[str, Any]) -> str:
    """The values; nothing where there is none. No sentence holds a tab: they are normalised when read."""
    return (
        "\t".join(
            "" if value is None else f"{value:.8g}" if isinstance(value, float) else str(value)
            for value in record.values()
        )
        + "\n"
    )
