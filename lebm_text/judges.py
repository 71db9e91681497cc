"""Check that the package's judges can be imported: another distribution has the same import name `lm_eval`."""

from __future__ import annotations

import importlib
from importlib.metadata import packages_distributions
from pathlib import Path

from lebm_text.errors import InputError

__all__ = ["check_judges"]


def check_judges() -> None:
    """Raise InputError if `lm_eval` is another distribution with the same import name."""
    mend = "pip install --force-reinstall --no-deps lebm-text"
    try:
        module = importlib.import_module("lm_eval")
    except ImportError as error:
        raise InputError(f"lm_eval, the judges of lebm-text, cannot be imported ({error}); run: {mend}") from None
    if getattr(module, "PROVIDER", None) != "lebm-text":
        names = sorted({name for name in packages_distributions().get("lm_eval", []) if name.lower() != "lebm-text"})
        remove = f"pip uninstall -y {names[0]} && " if names else ""
        place, whose = Path(getattr(module, "__file__", None) or "?").parent, " ".join(names) or "another package"
        raise InputError(
            f"lm_eval in {place} is that of {whose}, not lebm-text's, which judges need; run: {remove}{mend}, or use "
            "two environments"
        )
    if other := module.foreign_provider():
        raise InputError(
            f"the installed distribution {other} has the same import name, lm_eval, and overwrites files of "
            f"lebm-text; run: pip uninstall -y {other} && {mend}, or use two environments"
        )
