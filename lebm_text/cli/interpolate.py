"""`lebm-text interpolate`: what lies between two sentences."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .latent import find_latent_run, parse_argument, sources
from .options import MAX_SEED, device_option, json_option
from .sampling import run_option

__all__ = ["command"]


@click.command("interpolate")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@run_option
@click.option("-n", "n", type=click.IntRange(2, 10_000), default=9, show_default=True, help="Points, ends included.")
@click.option(
    "--path",
    "kind",
    type=click.Choice(["straight", "spherical", "both"]),
    default="both",
    show_default=True,
    help="Along the line, or along the great circle.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, show_default=True, help="Of the posterior draws.")
@device_option
@json_option
def command(a: str, b: str, run: Path | None, n: int, kind: str, seed: int, device: str, as_json: bool) -> None:
    """Decode latent vectors on the way from sentence A to sentence B, greedily.

    Both ends are one draw each from the posteriors. Beside each sentence: f(z), ‖z‖, and log p(A|z) and log p(B|z)
    in nats, which say how near the point still is to either.
    """
    sentences = parse_argument(a, "A"), parse_argument(b, "B")
    run = find_latent_run(run)

    from lebm_text.model import LatentEBM
    from lebm_text.reports.interpolation import PATHS, interpolate

    model = LatentEBM.from_pretrained(run, device=device)
    kinds = PATHS if kind == "both" else (kind,)
    paths = {each: interpolate(model, sentences, n, each, seed=seed) for each in kinds}
    if as_json:
        points = {each: [point._asdict() for point in found] for each, found in paths.items()}
        report = {"metric": "interpolate", **sources(f"interpolate(n={n})", model, run, seed=seed)}
        click.echo(json.dumps(report | {"a": sentences[0], "b": sentences[1], "paths": points}))
        return
    for each, found in paths.items():
        lines = [each, f"{'t':>5}{'f':>8}{'‖z‖':>7}{'log p(A|z)':>12}{'log p(B|z)':>12}"]
        for point in found:
            figures = f"{point.t:5.2f}{point.neg_energy:8.2f}{point.norm:7.2f}"
            likelihoods = f"{point.log_likelihood_a:12.1f}{point.log_likelihood_b:12.1f}"
            lines.append(f"{figures}{likelihoods}  {point.sentence}")
        click.echo("\n".join(lines).encode())  # UTF-8, whatever the locale
