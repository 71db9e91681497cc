"""`lebm-text interpolate`: what lies between two sentences."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.reports.interpolation import PATHS, InterpolationSettings, compute
from lebm_text.run import Run

from .console import progress, show_report
from .options import device_option, json_option, parse_sentence, run_option, seed_option

__all__ = ["command"]


@click.command("interpolate")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@run_option
@click.option("-n", "n", type=click.IntRange(2, 10_000), default=9, show_default=True, help="Points, ends included.")
@click.option(
    "--path",
    "kind",
    type=click.Choice([*PATHS, "both"]),
    default="both",
    show_default=True,
    help="Along the line, or along the great circle.",
)
@seed_option("Of the posterior draws.")
@device_option
@json_option
def command(a: str, b: str, run: Path | None, n: int, kind: str, seed: int, device: str, as_json: bool) -> None:
    """Decode latent vectors on the way from sentence A to sentence B, greedily.

    Both ends are one draw each from the posteriors. Beside each sentence: f(z), ‖z‖, and log p(A|z) and log p(B|z)
    in nats, which say how near the point still is to either.
    """
    sentences = parse_sentence(a, "A"), parse_sentence(b, "B")
    found = Run.find(run)
    settings = InterpolationSettings(n, PATHS if kind == "both" else (kind,), seed=seed, device=device)
    with progress(quiet=as_json) as on_progress:
        report = compute(found, *sentences, settings, on_progress)
    show_report(report, found, None, as_json=as_json)
