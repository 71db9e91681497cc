"""scikit-learn, which some reports need and a bare installation lacks."""

from __future__ import annotations

from lebm_text.errors import InputError

__all__ = ["need_sklearn"]


def need_sklearn(what: str) -> None:
    """Raise InputError if scikit-learn is missing; `what` needs it."""
    try:
        import sklearn.linear_model
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need scikit-learn: pip install 'lebm-text[analysis]'") from None
