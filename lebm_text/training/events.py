"""What training tells beside its progress and its log: events, and the figures among them in metrics.jsonl.

An event is a kind and a JSON-ready dictionary:

| kind | data |
|---|---|
| start | run, corpus, n_sentences, n_tokens, vocab_size, n_parameters, steps_per_epoch, n_steps, step, |
| | device, precision, threads, processes |
| report | step, epoch and the metrics of the updates since the last report |
| validation | step, epoch and metrics on held-out sentences |
| checkpoint | path, step |
| end | reason (finished, patience, max_steps, max_minutes, stopped), step, seconds, path, best (of each validation |
| | perplexity the epoch at which it was lowest, and the value), published_by (which of them chose the weights; null: |
| | the last) |
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lebm_text.errors import InputError
from lebm_text.progress import duration
from lebm_text.store import atomic_write_bytes

__all__ = ["Event", "Listener", "MetricsLog", "describe_event", "ignore", "read_metrics"]

_DIGEST = re.compile(rb'(.*), "digest": "([0-9a-f]{16})"}', re.DOTALL)  # what it is of, and itself
_HEXADECIMAL = re.compile("[0-9a-fA-F]{16}")


@dataclass(frozen=True)
class Event:
    """Something that happened in training; see the table of kinds in the module's docstring."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing."""


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
    """The lines that tell a person of `event`; none for an event that is not worth one."""
    describe = _DESCRIPTIONS.get(event.kind)
    return [] if describe is None else describe(event.data)


def _start(data: Mapping[str, Any]) -> list[str]:
    resumed = f", from update {data['step']:,} on" if data["step"] else ""
    few = not resumed and data["n_steps"] < _FEW and data["batch_size"] > _SMALL_BATCH
    return [
        f"corpus {data['corpus']}: {data['n_sentences']:,} sentences, {data['n_tokens']:,} tokens, "
        f"vocabulary {data['vocab_size']:,}",
        f"model of {data['n_parameters']:,} parameters on {data['device']} in {data['precision']}, "
        f"{data['threads']} thread{'s' * (data['threads'] != 1)}"
        + (f" in each of {data['processes']} processes" if data["processes"] > 1 else ""),
        f"{data['n_steps']:,} updates, {data['steps_per_epoch']:,} an epoch{resumed}",
        *([_HINT] if few else []),
    ]


def _end(data: Mapping[str, Any]) -> list[str]:
    path, reason = data["path"], data["reason"]
    if reason in ("finished", "patience"):
        why = ": the last epochs were no better (training.patience)" if reason == "patience" else ""
        head = f"finished after {data['step']:,} updates{why}"
        hint = f"next: lebm-text generate -n 10 --run {path}"
    else:
        why = {"max_steps": " (--max-steps)", "max_minutes": " (--max-minutes)"}.get(reason, "")
        head = f"stopped after {data['step']:,} updates{why}, checkpoint written"
        hint = f"continue: lebm-text train --resume --out {path}"
    return [f"{head}, {duration(data['seconds'])}; everything is in {path}", *_best(data), hint]


def _best(data: Mapping[str, Any]) -> list[str]:
    """Which epoch was best by what, and whose weights are published."""
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


class MetricsLog:
    """metrics.jsonl: one JSON object per line, with an integer `step`, the number of updates done at that time.

    A run that was killed and resumed has the lines of one that was not, except for times: lines later than the
    checkpoint are dropped before training repeats those updates. The last key of a line is its `digest`, of the digest
    before it and the line, so that a line that is changed, lost or moved is noticed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("ab")
        self._digest = ""  # of the last line

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system, so that a killed process has lost none before it."""
        line = json.dumps(record).encode()
        self._digest = _digest(self._digest, line)
        self._stream.write(line[:-1] + b', "digest": "%s"}\n' % self._digest.encode())
        self._stream.flush()

    def truncate_after(self, step: int) -> None:
        """Drop the lines with a step greater than `step`, and a cut-off last line; keep the rest as is."""
        self._stream.close()
        try:
            kept = [line for line in _lines(self.path) if line.record["step"] <= step]
        except InputError as error:
            raise InputError(f"{error}; give it another name, and the run goes on without the figures in it") from None
        atomic_write_bytes(self.path, b"".join(line.text + b"\n" for line in kept))
        self._stream, self._digest = self.path.open("ab"), kept[-1].digest if kept else ""

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._stream.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of `path` in order, without a cut-off last line; InputError for any other bad line."""
    return [line.record for line in _lines(path)]


class _Line(NamedTuple):
    text: bytes
    record: dict[str, Any]
    digest: str


def _digest(before: str, line: bytes) -> str:
    return hashlib.sha256(before.encode() + line).hexdigest()[:16]


def _lines(path: Path) -> list[_Line]:
    try:
        texts = path.read_bytes().split(b"\n")
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise InputError(f"{path} {reason}") from None
    found: list[_Line] = []
    for number, text in enumerate(texts, start=1):
        # Nothing after the last newline is the normal end; part of a record there was cut off by a kill.
        if number == len(texts) and not text.endswith(b"}"):
            if b"}" in text:
                raise InputError(f"{path} is damaged: its last line goes on after its end")
            break
        found.append(_line(text, found[-1].digest if found else "", f"{path}, line {number}"))
    return found


def _line(text: bytes, before: str, name: str) -> _Line:
    """A line after one with the digest `before`."""
    try:
        record = json.loads(text)
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise ValueError
    except (ValueError, RecursionError):
        raise InputError(f"{name}: expected a JSON object with an integer step") from None
    match = _DIGEST.fullmatch(text)
    digest = "" if match is None else match[2].decode()
    if match is None:
        # Lines without are of version 0.1.0, and stand before all others.
        whole = "digest" not in record and not any(_HEXADECIMAL.fullmatch(str(value)) for value in record.values())
        sound = not before and whole
    else:
        sound = _digest(before, match[1] + b"}") == digest
    if not sound:
        raise InputError(f"{name} is damaged: it does not match its digest")
    record.pop("digest", None)
    return _Line(text, record, digest)
