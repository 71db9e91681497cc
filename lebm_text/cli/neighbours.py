"""`lebm-text neighbours`: the sentences of a corpus that lie nearest to given ones in the latent space."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lebm_text.errors import InputError
from lebm_text.run import Run

from .console import progress
from .latent import draws_option, find_latent_run, parse_argument, run_corpus, sources
from .options import MAX_SEED, data_dir_option, device_option, json_option
from .sampling import read_sentences, run_option

__all__ = ["command"]


@click.command("neighbours")
@click.argument("sentences", metavar="[SENTENCE]...", nargs=-1)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Read the sentences from a file, one a line.  [default: standard input, if none is named]",
)
@run_option
@data_dir_option
@click.option("--split", type=click.Choice(["train", "valid", "test"]), default="test", show_default=True)
@click.option("-k", "k", type=click.IntRange(1), default=5, show_default=True, help="Neighbours of each sentence.")
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@draws_option
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, show_default=True)
@device_option
@json_option
def command(
    sentences: tuple[str, ...],
    file: Path | None,
    run: Path | None,
    data_dir: Path | None,
    split: str,
    k: int,
    metric: str,
    draws: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """List the nearest sentences of the run's corpus to each SENTENCE, with distances between posterior means.

    Sentences that occur several times in the split are listed once. The posterior means of a split take a while and
    are kept in the cache. With --json, each line is an object with "input" and "neighbours".
    """
    if sentences and file is not None:
        raise InputError("sentences are named both as arguments and by --file: give one of them")
    run = find_latent_run(run)
    queries = [parse_argument(text, f"argument {i}") for i, text in enumerate(sentences, 1)] or read_sentences(file)
    if not queries:
        return

    from lebm_text.model import LatentEBM
    from lebm_text.reports.neighbours import nearest
    from lebm_text.reports.posterior import kept_posterior_means, posterior_means, seed_apart, that_fit

    corpus = run_corpus(run, data_dir)
    model = LatentEBM.from_pretrained(run, device=device)
    lines = that_fit(model, dict.fromkeys(corpus.splits[split].sentences()))
    if not lines:
        raise InputError(f"{corpus.name} {split} has no sentence that fits the model")
    with progress(quiet=as_json) as show:
        places = posterior_means(model, queries, n_draws=draws, seed=seed_apart(seed), on_progress=show)
        means = kept_posterior_means(Run(run), model, lines, n_draws=draws, seed=seed, on_progress=show)
    found = nearest(places, means, k, metric)
    what = f"neighbours(k={k},{metric},M={draws})|text:{corpus.name}-{split}"
    facts = sources(what, model, run, seed=seed)
    facts["sha256"][split] = corpus.splits[split].sha256
    for query, index, distance, mean in zip(queries, *(column.tolist() for column in found), strict=True):
        rows = [{"distance": d, "sentence": lines[i]} for i, d in zip(index, distance, strict=True)]
        if as_json:
            click.echo(json.dumps({"input": query, "neighbours": rows, "mean_distance": mean, **facts}))
            continue
        click.echo(query.encode())  # UTF-8, whatever the locale
        for row in rows:
            click.echo(f"{row['distance']:9.3f}  {row['sentence']}".encode())
        click.echo(f"{mean:9.3f}  on average, {len(lines):,} sentences")
