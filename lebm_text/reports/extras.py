"""Packages that some analyses need and a bare installation lacks, each asked for in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lebm_text.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["need_sklearn", "new_figure"]


def need_sklearn(what: str) -> None:
    """Raise InputError if scikit-learn is missing; `what` needs it."""
    try:
        import sklearn.linear_model
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need scikit-learn: pip install 'lebm-text[analysis]'") from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. Raises InputError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("pictures need matplotlib: pip install 'lebm-text[viz]'") from None
    return Figure(figsize=(width, height), layout="constrained")
