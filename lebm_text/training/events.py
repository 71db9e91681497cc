"""Events: what training reports besides its progress and its log.

An event is a kind and a JSON-ready dictionary:

| kind | data |
|---|---|
| start | run, corpus, n_sentences, n_tokens, vocab_size, n_parameters, steps_per_epoch, n_steps, batch_size, step, |
| | device, precision, threads, processes, init (the run that gave the first weights, or null) |
| report | step, epoch and the metrics of the updates since the last report |
| validation | step, epoch and metrics on held-out sentences |
| checkpoint | path, step |
| end | reason (finished, patience, max_steps, max_minutes, stopped), step, seconds, path, best (of each validation |
| | perplexity the epoch at which it was lowest, and the value), published_by (which of them chose the weights; null: |
| | the last) |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from lebm_text.progress import duration

__all__ = ["Event", "Listener", "describe_event", "ignore"]


@dataclass(frozen=True)
class Event:
    """An event of a training; see the table of kinds in the module's docstring."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing: the default listener."""


# The metrics that a line shows, in its order, and their labels; metrics.jsonl has all of them.
_HEADLINES = {
    "nll_token": "nll/token",
    "nll_posterior": "without dropout, own z",
    "nll_shuffled": "another's z",
    "kl": "KL",
    "gap": "gap",
    "std_ratio": "std z⁺/z⁻",
    "curvature": "curvature",
    "valid_ppl": "perplexity",
    "valid_ppl_posterior": "perplexity with posterior z",
    "valid_ppl_prior": "with prior z",
    "valid_ppl_null": "without z",
    "valid_ppl_bound": "at most",
    "valid_kl": "held-out KL",
    "valid_kn5": "KN5 reverse perplexity",
    "tokens_per_second": "tokens/s",
    "eta_seconds": "left",
}


_FEW, _SMALL_BATCH = 500, 32
_HINT = (
    "so few updates write poor sentences; for a small text: --set training.batch_size=32 "
    "--set training.batch_tokens=1024 --set training.learning_rate=0.003"
)


def describe_event(event: Event) -> list[str]:
    """Return the lines that describe `event` for people; none for an event of no interest to them."""
    describe = _DESCRIPTIONS.get(event.kind)
    return [] if describe is None else describe(event.data)


def _start(data: Mapping[str, Any]) -> list[str]:
    resumed = f", from update {data['step']:,} on" if data["step"] else ""
    init = data["init"]
    few = not resumed and init is None and data["n_steps"] < _FEW and data["batch_size"] > _SMALL_BATCH
    return [
        f"corpus {data['corpus']}: {data['n_sentences']:,} sentences, {data['n_tokens']:,} tokens, "
        f"vocabulary {data['vocab_size']:,}",
        f"model of {data['n_parameters']:,} parameters on {data['device']} in {data['precision']}, "
        f"{data['threads']} thread{'s' * (data['threads'] != 1)}"
        + (f" in each of {data['processes']} processes" if data["processes"] > 1 else ""),
        *([] if init is None else [f"generator starts with the weights of {init}"]),
        f"{data['n_steps']:,} updates, {data['steps_per_epoch']:,} an epoch{resumed}",
        *([_HINT] if few else []),
    ]


def _end(data: Mapping[str, Any]) -> list[str]:
    path, reason = data["path"], data["reason"]
    if reason in ("finished", "patience"):
        why = ": the last epochs were no better (training.patience)" if reason == "patience" else ""
        head = f"finished after {data['step']:,} updates{why}"
        hint = f"next: lebm-text generate -n 10 --run {quote(str(path))}"
    else:
        why = {"max_steps": " (--max-steps)", "max_minutes": " (--max-minutes)"}.get(reason, "")
        head = f"stopped after {data['step']:,} updates{why}, checkpoint written"
        hint = f"continue: lebm-text train --resume --out {quote(str(path))}"
    return [f"{head}, {duration(data['seconds'])}; everything is in {path}", *_best(data), hint]


def _best(data: Mapping[str, Any]) -> list[str]:
    """Return lines on which epoch was best by which figure, and whose weights are published."""
    best = {name: data["best"][name] for name in _HEADLINES if name in data.get("best", {})}
    if not best:
        return []
    by = data.get("published_by")
    lowest = (f"{_HEADLINES[name]} {_number(at['value'])} after epoch {at['epoch']:g}" for name, at in best.items())
    published = "the last weights" if by is None else "those of an earlier epoch"
    if by in best:
        published = f"those of epoch {best[by]['epoch']:g}"
    return [f"lowest on validation text: {', '.join(lowest)}; published: {published}"]


_DESCRIPTIONS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "notice": lambda data: [str(data["message"])],
    "warning": lambda data: [f"warning: {data['message']}"],
    "start": _start,
    "report": lambda data: [f"update {data['step']:>6,}  epoch {data['epoch']:6.2f}  {_metrics(data)}".rstrip()],
    "validation": lambda data: [f"validation after update {data['step']:,}: {_metrics(data)}"],
    "end": _end,
}


def _metrics(data: Mapping[str, Any]) -> str:
    shown = {name: label for name, label in _HEADLINES.items() if name in data}
    return "  ".join(
        f"{label} {duration(data[name]) if name.endswith('_seconds') else _number(data[name])}"
        for name, label in shown.items()
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
