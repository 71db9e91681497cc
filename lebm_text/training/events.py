"""What training tells the outside: a stream of events, each a kind and a JSON-ready dictionary.

| kind | data |
|---|---|
| notice | message |
| warning | message |
| start | run, corpus, n_sentences, n_tokens, vocab_size, n_parameters, steps_per_epoch, n_steps, step, |
| | device, precision, threads, processes |
| progress | step, n_steps, epoch (after every update) |
| report | step, epoch and the metrics of the updates since the last report |
| validation | step, epoch and metrics on held-out sentences |
| checkpoint | path, step |
| end | reason (finished, max_steps, max_minutes, stopped), step, seconds, path |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "Listener"]


@dataclass(frozen=True)
class Event:
    """Something that happened in training; see the table of kinds in the module's docstring."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]
