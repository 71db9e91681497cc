"""What a run is: settings that were chosen, all settings, where it ran, and on which text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lebm_text.config import Config

from .html import Html, Section, details, element, number, table
from .run_files import RunFiles, is_figure, mappings

__all__ = ["about", "glance", "kind_of"]

_KINDS = {
    ("short_run", "ebm"): "Latent space energy-based model: prior learned, z inferred by Langevin chains",
    ("short_run", "gaussian"): "Gaussian prior, z inferred by Langevin chains",
    ("amortized", "gaussian"): "Variational autoencoder: Gaussian prior, z inferred by an encoder",
    ("amortized", "ebm"): "Energy-based prior, z inferred by an encoder",
    ("semi_amortized", "gaussian"): "Semi-amortized variational autoencoder: an encoder refined by gradient steps",
    ("semi_amortized", "ebm"): "Energy-based prior, z inferred by an encoder refined by gradient steps",
    ("no_latent", "gaussian"): "LSTM language model, no latent vector",
}
_FIGURES = {
    "valid_ppl_posterior": "validation perplexity, z inferred",
    "valid_ppl_prior": "validation perplexity, z from the prior",
    "valid_ppl": "validation perplexity",
}


def kind_of(config: Config) -> str:
    """The model in a line."""
    kinds = config.inference.kind, config.model.prior
    return _KINDS.get(kinds, f"inference {kinds[0]}, prior {kinds[1]}")


def glance(run: RunFiles) -> Html:
    """The figures that a reader wants first."""
    tiles = [("training", *_training(run))]
    for key, label in _FIGURES.items():
        last = next((record for record in reversed(run.metrics) if key in record), None)
        if last is not None:
            tiles.append((label, number(last[key]), f"after epoch {last['epoch']:g}"))
    for name in ("fppl", "rppl"):
        row = next((row for row in _results(run) if row.get("metric") == name and is_figure(row.get("ppl"))), None)
        if row is not None:
            real = row.get("real_ppl")
            beside = f"real text {number(real)}" if is_figure(real) else ""
            tiles.append((f"{name.upper()}, {row.get('judge', '')} judge", number(row["ppl"]), beside))
    if run.metrics:
        tiles.append(("warnings", number(len(run.warnings)), "of collapse or divergence"))
    parts = [
        element("div", element("dt", label), element("dd", element("strong", value), element("span", beside)))
        for label, value, beside in tiles
    ]
    return element("dl", *parts, class_="glance")


def about(run: RunFiles) -> Section:
    """The section on settings, environment and data."""
    default, stored = Config().to_dict(), run.config.to_dict()
    every = [
        (f"{part}.{key}", value, default[part].get(key)) for part, keys in stored.items() for key, value in keys.items()
    ]
    changed = [(name, _setting(value), _setting(usual)) for name, value, usual in every if value != usual]
    parts = []
    if changed:
        parts.append(table("Settings that differ from the defaults", ["setting", "here", "default"], changed))
    else:
        parts.append(element("p", "All settings are the defaults."))
    rows = [(name, _setting(value)) for name, value, _ in every]
    parts.append(details("All settings", table("All settings", ["setting", "value"], rows)))
    return Section("about", "What this run is", [*parts, *_data(run.env), *_environment(run.env)])


def _training(run: RunFiles) -> tuple[str, str]:
    n_epochs = run.config.training.n_epochs
    steps = [run.progress.get("step"), *(record["step"] for record in run.metrics)]
    step = max(filter(is_figure, steps), default=0)
    if run.finished:
        hours = run.progress.get("seconds")
        took = f", {hours / 3600:.1f} hours of updates" if is_figure(hours) else ""
        return "finished", f"{n_epochs:,} epochs, {step:,} updates{took}"
    if not step:
        return "begun", f"no figures yet; {n_epochs:,} epochs were asked for"
    where = f"epoch {run.metrics[-1]['epoch']:.1f} of {n_epochs:,}, " if run.metrics else ""
    return "not finished", f"{where}update {step:,}"


def _data(env: Mapping[str, Any]) -> Iterator[Html]:
    corpus = env.get("corpus")
    splits = corpus.get("splits") if isinstance(corpus, Mapping) else None
    if not isinstance(corpus, Mapping) or not isinstance(splits, Mapping):
        return
    rows = [
        (name, split.get("n_sentences"), split.get("n_words"), element("code", str(split.get("sha256", ""))))
        for name, split in splits.items()
        if isinstance(split, Mapping)
    ]
    yield table(f"Text: {corpus.get('name', 'unnamed')}", ["split", "sentences", "words", "sha256"], rows)


def _environment(env: Mapping[str, Any]) -> Iterator[Html]:
    rows: list[tuple[str, Any]] = []
    for key, value in env.items():
        if key == "corpus" or value is None:
            continue
        if isinstance(value, Mapping):
            rows += [(f"{key}: {name}", _setting(item)) for name, item in value.items()]
        else:
            rows.append((key.replace("_", " "), _setting(value)))
    if rows:
        yield details("Where it ran", table("Machine and versions", ["what", "value"], rows))


def _results(run: RunFiles) -> Iterator[Mapping[str, Any]]:
    for report in run.reports.values():
        yield from mappings(report.get("results"))


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
