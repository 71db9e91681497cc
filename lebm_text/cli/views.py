"""`lebm-text views`: the latent space in two dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError

from .latent import find_latent_run, publish, report_file, report_option, run_corpus, sources
from .options import MAX_SEED, data_dir_option, device_option, json_option
from .sampling import progress, run_option

__all__ = ["command"]


@click.command("views")
@run_option
@data_dir_option
@click.option("--split", type=click.Choice(["train", "valid", "test"]), default="test", show_default=True)
@click.option("-n", "n", type=click.IntRange(3), default=1000, show_default=True, help="Points of each set.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, show_default=True)
@device_option
@json_option
@report_option("views")
def command(
    run: Path | None,
    data_dir: Path | None,
    split: str,
    n: int,
    seed: int,
    device: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Draw N(0, I), samples of the prior, and posterior draws of sentences in one picture, on common axes.

    Where the prior has learned where sentences lie, its samples and the posterior draws have the same distribution
    of position, norm and f. A Gaussian prior is N(0, I) itself and is drawn once.
    """
    run = find_latent_run(run)

    from lebm_text.model import LatentEBM
    from lebm_text.reports.posterior import shuffled, that_fit
    from lebm_text.reports.views import plot_view, view

    file = report_file(run, "views", output)
    corpus = run_corpus(run, data_dir)
    model = LatentEBM.from_pretrained(run, device=device)
    if model.config.model.latent_dim < 2:
        raise InputError(f"{run} has model.latent_dim = 1: a view needs two dimensions")
    lines = that_fit(model, corpus.splits[split].sentences())
    if len(lines) < n:
        raise InputError(f"{corpus.name} {split} has {len(lines):,} sentences that fit the model, fewer than -n {n:,}")
    with progress(n, "posterior draws", quiet=as_json) as say:
        found = view(model, [lines[i] for i in shuffled(len(lines), seed)[:n]], seed=seed, on_progress=say)
    report: dict[str, Any] = {
        "metric": "views",
        **sources(f"views(n={n})|text:{corpus.name}-{split}", model, run, seed=seed),
        "n": n,
        "explained": found.explained,
        "clouds": {name: cloud.figures() for name, cloud in found.clouds.items()},
    }
    report["sha256"][split] = corpus.splits[split].sha256
    publish(
        report,
        file,
        {"": lambda stem: plot_view(found.clouds, found.explained, stem)},
        _lines(report),
        as_json=as_json,
    )


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"{'':>10}{'mean f':>20}{'mean ‖z‖':>20}{'variance a dimension':>23}"]
    for name, cloud in report["clouds"].items():
        f, norm = (f"{cloud[key]['value']:.3f} ± {cloud[key]['standard_error']:.3f}" for key in ("f", "norm"))
        lines.append(f"{name:>10}{f:>20}{norm:>20}{cloud['variance']:>23.3f}")
    first, second = report["explained"]
    return [*lines, f"the axes have {first:.1%} and {second:.1%} of the variance of all sets together"]
