"""Reports on a run or a text: results that are printed as tables, saved as JSON and pictures, and shown on a page.

Each kind of report is a module with a function `compute(run, settings, on_progress)` and a subclass of `Report`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text.errors import InputError
from lebm_text.store import read_json

if TYPE_CHECKING:  # for editors and type checkers; `__getattr__` imports each module on first use
    from . import (
        anomaly,
        curves,
        directions,
        embedding,
        frontier,
        interpolation,
        likelihood,
        neighbours,
        perplexity,
        reconstruction,
        trajectories,
        views,
    )
    from .base import Report

__all__ = [
    "KINDS",
    "anomaly",
    "curves",
    "directions",
    "embedding",
    "frontier",
    "interpolation",
    "likelihood",
    "load",
    "neighbours",
    "perplexity",
    "reconstruction",
    "trajectories",
    "views",
]

KINDS = {kind: kind.capitalize() for kind in __all__ if kind not in ("KINDS", "load")}
"""Kind, which is the name of the module → name of its report class."""


def load(path: str | Path) -> Report:
    """Read a report of any kind. Raises InputError if it is damaged or its kind is not known."""
    values = read_json(Path(path))
    kind = _kind_of(values)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{path} is no report that this version knows: its kind is {kind!r}")
    try:
        module = importlib.import_module(f"{__name__}.{kind}")
    except ImportError:
        from lebm_text.judges import check_judges

        try:
            check_judges()  # the classes of judge results come from this project's lm_eval
        except InputError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        raise
    report: Report = getattr(module, KINDS[kind]).from_json(values, str(path))
    return report


def _kind_of(values: dict[str, Any]) -> object:
    """Return the kind of a report; version 0.1.0 wrote fppl or rppl under `metric` instead of `kind`: perplexity."""
    kind = values.get("kind", values.get("metric"))
    return {"fppl": "perplexity", "rppl": "perplexity"}.get(str(kind), kind)


def __dir__() -> list[str]:
    return sorted({*globals(), *KINDS})


def __getattr__(name: str) -> Any:
    if name in KINDS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
