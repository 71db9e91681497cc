"""What the model writes: samples by epoch and from files, and sentences beside their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .html import Html, Section, details, element
from .run_files import RunFiles, SampleText

__all__ = ["reconstructions", "samples"]

_SHOWN = 10  # sentences of a file
_FOLLOWED = 3  # sentences that are followed over epochs
_EPOCHS = 6  # at which they are
_RATES = {"empty": "empty", "truncated": "cut off", "unk": "with <unk>", "duplicate": "duplicates"}


def samples(run: RunFiles) -> Section | None:
    """The section; None if there are none."""
    parts = []
    if run.epochs:
        last, text = run.epochs[-1]
        seed = run.config.training.seed
        parts += [
            element("h3", f"After epoch {last:,}"),
            element(
                "p",
                f"{len(text.lines):,} sentences as they came, none selected: z from the prior, each word drawn at "
                f"temperature 1, seed {seed}.",
            ),
            _sentences(text.lines),
        ]
        if len(run.epochs) > 1:
            parts.append(details("The same noise over the epochs", *_over_epochs(run.epochs)))
    for text in run.samples:
        signature = text.record.get("signature")
        body = [
            element("p", f"The first {min(_SHOWN, len(text.lines))} sentences of {text.name}{_rates(text.record)}.")
        ]
        body.append(_sentences(text.lines[:_SHOWN]))
        if isinstance(signature, str):
            body.append(element("p", element("code", signature), class_="signature"))
        parts.append(details(text.name, *body, open_=not run.epochs))
    return Section("samples", "Samples", parts) if parts else None


def reconstructions(run: RunFiles) -> Section | None:
    """The section; None if no file of the run holds sentences and what came of them."""
    parts = [element("ol", *map(_pair, pairs), class_="sentences") for pairs in run.pairs.values() if pairs]
    if not parts:
        return None
    caption = "Each sentence was passed through the latent space and back: what z keeps of it, and what it loses."
    return Section("reconstructions", "Reconstructions", [element("p", caption), *parts])


def _over_epochs(epochs: Sequence[tuple[int, SampleText]]) -> list[Html]:
    """The first and last epochs and some between, evenly by number of the epoch's place."""
    count = min(_EPOCHS, len(epochs))
    chosen = [epochs[round(i * (len(epochs) - 1) / (count - 1))] for i in range(count)]
    parts = [element("p", "The first sentences of several epochs: what training changed, with the noise kept.")]
    for number, text in chosen:
        parts += [element("h4", f"Epoch {number:,}"), _sentences(text.lines[:_FOLLOWED])]
    return parts


def _sentences(lines: Sequence[str]) -> Html:
    items = [element("li", _sentence(line)) for line in lines]
    return element("ol", *items, class_="sentences")


def _pair(pair: tuple[str, str]) -> Html:
    back = element("div", "→ ", _sentence(pair[1]), class_="back")
    return element("li", _sentence(pair[0]), back)


def _sentence(line: str) -> Html:
    """Direction by its own letters, whatever the page's."""
    if not line.strip():
        return element("em", "(empty)")
    return element("bdi", line, dir="auto")


def _rates(record: Any) -> str:
    rates = record.get("rates")
    if not isinstance(rates, dict):
        return ""
    known = [f"{rates[key]:.1%} {name}" for key, name in _RATES.items() if isinstance(rates.get(key), (int, float))]
    return f" ({', '.join(known)} in all of it)" if known else ""
