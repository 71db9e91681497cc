"""The report of `lebm-text likelihood`: log p(x) from below, how well it is known, and what z carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .charts import Chart, Series, draw
from .html import Html, Section, element, number, table
from .run_files import RunFiles, dig, is_figure, text_of

__all__ = ["is_likelihood", "likelihoods"]

_ACTIVE = 0.01  # variance of its posterior mean from which a unit counts as active

# label, where the value is, where its standard error is, what it says
_FIGURES = (
    (
        "nats a sentence, exact",
        ("exact_of_all", "nll"),
        ("exact_of_all", "nll_standard_error"),
        "−log p(x) of a language model, all sentences",
    ),
    (
        "perplexity, exact",
        ("exact_of_all", "perplexity"),
        ("exact_of_all", "perplexity_standard_error"),
        "from the same sentences",
    ),
    ("nats a sentence", ("ais", "nll"), ("ais", "nll_standard_error"), "−log p(x), from above: at most so much"),
    ("perplexity", ("ais", "perplexity"), ("ais", "perplexity_standard_error"), "from the same bound"),
    ("bits a byte", ("ais", "bits_per_byte"), ("ais", "bits_per_byte_standard_error"), "of one segmentation"),
    (
        "log Z, forward",
        ("log_z", "forward", "value"),
        ("log_z", "forward", "standard_error"),
        "the prior's normaliser, from below",
    ),
    ("log Z, reverse", ("log_z", "reverse", "value"), ("log_z", "reverse", "standard_error"), "the same, from above"),
    (
        "chain gap",
        ("chain_gap", "value"),
        ("chain_gap", "standard_error"),
        "f of the chain that generates less f of the density: 0 if they agree",
    ),
    (
        "reconstruction",
        ("latent", "reconstruction_nll", "value"),
        ("latent", "reconstruction_nll", "standard_error"),
        "−log p(x|z) with z inferred from x; no likelihood",
    ),
    (
        "information",
        ("latent", "information", "value"),
        ("latent", "information", "standard_error"),
        "nats that z carries about a sentence",
    ),
    (
        "encoder KL",
        ("encoder_kl", "value"),
        ("encoder_kl", "standard_error"),
        "of the encoder's q(z|x) from the prior, nats a sentence",
    ),
    ("active units", ("latent", "active_units"), (), "dimensions of z that vary with the sentence"),
    (
        "bracket",
        ("bracket", "gap", "value"),
        ("bracket", "gap", "standard_error"),
        "upper less lower bound, sentences of the model's own",
    ),
)


def is_likelihood(report: Mapping[str, Any]) -> bool:
    """Whether this is a report of `lebm-text likelihood`."""
    return report.get("metric") == "likelihood" and any(_rows(report))


def likelihoods(run: RunFiles) -> Section | None:
    """The section; None without such a report."""
    parts: list[Html] = []
    for report in run.reports.values():
        if is_likelihood(report):
            n = dig(report, "ais", "n_sentences") or dig(report, "exact_of_all", "n_sentences")
            counted = f", {n:,} sentences" if isinstance(n, int) else ""
            title = f"Likelihood on {text_of(report)}{counted}"
            parts.append(table(title, ["figure", "value", "standard error", "what it says"], _rows(report)))
            charts = [draw(chart) for chart in _charts(report)]
            parts += [element("div", *charts, class_="charts")] if charts else []
    if not parts:
        return None
    caption = (
        "log p(x) of held-out sentences under the density itself: exact for a language model, else a bound from "
        "annealed importance sampling."
    )
    return Section("likelihood", "Likelihood", [element("p", caption), *parts])


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for label, where, error, meaning in _FIGURES:
        value = dig(report, *where)
        if is_figure(value):
            of_value = dig(report, *error) if error else None
            yield label, value, f"± {number(of_value)}" if is_figure(of_value) else None, meaning


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    sentences = report.get("sentences")
    points = [
        (row["n_tokens"], -row["log_p_lower"])
        for row in (sentences if isinstance(sentences, list) else [])
        if is_figure(dig(row, "n_tokens")) and is_figure(dig(row, "log_p_lower"))
    ]
    if points:
        yield Chart(
            "Sentences",
            "One point a sentence: longer ones cost more nats; one far above its neighbours is unusual to the model.",
            "tokens",
            "−log p(x), nats, at most",
            [Series("", sorted(points), line=False)],
        )
    variances = dig(report, "latent", "unit_variances")
    known = (
        sorted((value for value in variances if is_figure(value)), reverse=True) if isinstance(variances, list) else []
    )
    if known:
        yield Chart(
            "Use of each dimension of z",
            "How much the posterior mean varies between sentences; dimensions above the line are in use.",
            "dimension, the most used first",
            "variance of the posterior mean",
            [Series("", [(float(index), max(value, 1e-6)) for index, value in enumerate(known, start=1)])],
            levels=[("active above", _ACTIVE)],
            logarithmic=True,
        )
