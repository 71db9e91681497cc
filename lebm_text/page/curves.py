"""Training curves: a chart for each figure that a run has, and what training warned of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .charts import Chart, Series, draw
from .html import Html, Section, details, element, table
from .run_files import RunFiles

__all__ = ["training_curves"]


@dataclass(frozen=True)
class _Panel:
    """A chart to be.

    Attributes:
        keys: of metrics.jsonl, with the labels of their lines.
        moving: shown only if a value changes.
        of_energy: shown only where there is a learned f; a Gaussian prior's is 0.
    """

    title: str
    unit: str
    keys: Mapping[str, str]
    caption: str
    levels: tuple[tuple[str, float], ...] = ()
    logarithmic: bool | None = None
    moving: bool = False
    of_energy: bool = False


_PANELS = (
    _Panel(
        "Validation perplexity",
        "perplexity",
        {
            "valid_ppl_posterior": "z inferred from the sentence",
            "valid_ppl_prior": "z from the prior",
            "valid_ppl_bound": "bound on the model's",
            "valid_ppl": "language model",
        },
        "Held-out sentences after each epoch; lower is better. A gap between z inferred and z from the prior says that "
        "z carries something; neither of the two is a likelihood.",
    ),
    _Panel(
        "Training loss",
        "nats a token",
        {
            "nll_token": "as trained, with dropout",
            "nll_posterior": "the sentence's own z",
            "nll_shuffled": "another sentence's z",
            "nll_prior": "z from the prior",
        },
        "How badly the generator predicts the next word; lower is better. If another sentence's z does as well as the "
        "own one, the generator ignores z.",
    ),
    _Panel(
        "Energy gap",
        "f(z⁺) − f(z⁻), nats",
        {"gap": ""},
        "How far the energy tells inferred z⁺ from z⁻ of the prior chain; it should stay near 0, and endless growth "
        "is the sign of a runaway prior.",
        levels=(("", 0.0),),
        of_energy=True,
    ),
    _Panel(
        "Energy",
        "mean f, nats",
        {"f_positive": "f(z⁺), inferred", "f_negative": "f(z⁻), prior chain"},
        "The learned part of the prior at both kinds of z; the two lines should move together.",
        of_energy=True,
    ),
    _Panel(
        "Norms of z",
        "mean ‖z‖",
        {"norm_positive": "‖z⁺‖, inferred", "norm_negative": "‖z⁻‖, prior chain"},
        "Where both kinds of z lie; the prior chain should follow the inferred z.",
    ),
    _Panel(
        "Spread of z",
        "std(z⁺) / std(z⁻)",
        {"std_ratio": ""},
        "1 means that inferred z fill the space as prior samples do; training warns at 2 and at 1/2.",
        levels=(("equally wide", 1.0),),
    ),
    _Panel(
        "Curvature against step size",
        "curvature × s²/4",
        {"curvature_posterior": "posterior chain", "curvature_prior": "prior chain"},
        "The steepest direction of a batch against the Langevin step; above 1 it overshoots, training warns at 1/2.",
        levels=(("unstable above", 1.0),),
        logarithmic=True,
    ),
    _Panel(
        "KL(q‖p0)",
        "nats a sentence",
        {"kl": "training", "valid_kl": "validation"},
        "How much the encoder says about a sentence; near 0 means that z is ignored.",
    ),
    _Panel(
        "Settings that move",
        "value",
        {"likelihood_weight": "likelihood weight γ", "kl_weight": "KL weight β", "noise_scale": "noise scale"},
        "What was annealed over the run, and when it reached its end.",
        moving=True,
    ),
    _Panel(
        "RPPL that selects the weights",
        "RPPL, KN5",
        {"valid_kn5": ""},
        "Validation sentences read by a judge of the model's samples; the lowest point was published.",
    ),
    _Panel(
        "Gradient norms",
        "norm before clipping",
        {"grad_generator": "generator", "grad_encoder": "encoder", "grad_prior": "prior"},
        "Steady or falling is well; jumps mark single bad batches, which are clipped.",
    ),
    _Panel(
        "Speed",
        "tokens a second",
        {"tokens_per_second": ""},
        "Training tokens a second between two reports; dips are other work on the machine.",
    ),
)
_TABLE = {
    "valid_ppl_posterior": "perplexity, z inferred",
    "valid_ppl_shuffled": "perplexity, another's z",
    "valid_ppl_prior": "perplexity, z from the prior",
    "valid_ppl_bound": "perplexity, bound",
    "valid_ppl": "perplexity",
    "valid_kl": "KL, nats a sentence",
    "valid_kn5": "RPPL, KN5",
}


def training_curves(run: RunFiles) -> Section | None:
    """The section; None if the run has no metrics yet."""
    charts = [draw(chart) for chart in _charts(run)]
    if not charts:
        return None
    parts = [element("div", *charts, class_="charts"), *_warnings(run), *_validation_table(run)]
    return Section("curves", "Training curves", parts)


def _charts(run: RunFiles) -> Iterator[Chart]:
    for panel in _PANELS:
        if panel.of_energy and run.config.model.prior == "gaussian":
            continue
        series = []
        for key, label in panel.keys.items():
            points = [(record["epoch"], record[key]) for record in run.metrics if key in record]
            if points and not (panel.moving and len({value for _, value in points}) == 1):
                series.append(Series(label, points))
        if series:
            levels = list(panel.levels)
            if "norm_positive" in panel.keys:
                levels.append(("N(0, I)", math.sqrt(run.config.model.latent_dim)))
            yield Chart(
                panel.title, panel.caption, "epoch", panel.unit, series, levels=levels, logarithmic=panel.logarithmic
            )


def _warnings(run: RunFiles) -> Iterator[Html]:
    if not run.warnings:
        yield element("p", "Training gave no warning of collapse or divergence.")
        return
    n = len(run.warnings)
    yield element("h3", "1 warning" if n == 1 else f"{n:,} warnings")
    yield element("p", "What training said when a sign of collapse or divergence began.")
    shown = [element("li", f"update {step:,}: {message}") for step, message in run.warnings]
    yield element("ul", *shown[:5], class_="warnings")
    if shown[5:]:
        yield details(f"{len(shown) - 5:,} more", element("ul", *shown[5:], class_="warnings"))


def _validation_table(run: RunFiles) -> Iterator[Html]:
    records = [record for record in run.metrics if any(key in record for key in _TABLE)]
    present = {key: label for key, label in _TABLE.items() if any(key in record for record in records)}
    if records:
        rows = [(f"{record['epoch']:g}", *(record.get(key) for key in present)) for record in records]
        title = "Validation after each epoch"
        yield details(f"{title}, as numbers", table(title, ["epoch", *present.values()], rows))
