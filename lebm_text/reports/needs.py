"""What some reports need and may not find: scikit-learn, and the judges of `lm_eval` under that name."""

from __future__ import annotations

import importlib

from lebm_text.errors import InputError

__all__ = ["check_judges", "need_sklearn"]


def need_sklearn(what: str) -> None:
    """Raise InputError if scikit-learn is missing; `what` needs it."""
    try:
        import sklearn.linear_model
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need scikit-learn: pip install 'lebm-text[analysis]'") from None


def check_judges() -> None:
    """Raise InputError if `lm_eval` is not ours: another distribution has the same import name."""
    try:
        module = importlib.import_module("lm_eval")
        ours = module.PROVIDER == "lebm-text"
    except (ImportError, AttributeError):
        ours = False
    if not ours:
        raise InputError(
            "the module lm_eval that Python finds is not lebm-text's; the LM evaluation harness has the same "
            "import name: install the two in different environments"
        )
    other = module.foreign_provider()
    if other is not None:
        raise InputError(
            f"the installed distribution {other} has the same import name, lm_eval, and overwrites files of "
            f"lebm-text; pip uninstall {other}, then reinstall lebm-text, or use two environments"
        )
