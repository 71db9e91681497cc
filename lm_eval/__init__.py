"""Judges of generated text: n-gram language models, forward and reverse perplexity, diversity.

The package reads text, never a checkpoint, so it can judge any system. `lm_eval` is also the import name
of the LM evaluation harness; `PROVIDER` tells the two apart, and `foreign_provider` whether both are here.
"""

from __future__ import annotations

from importlib.metadata import packages_distributions

__all__ = ["PROVIDER", "foreign_provider"]

PROVIDER = "lebm-text"


def foreign_provider() -> str | None:
    """Another distribution that installs an importable `lm_eval`, or None: the two overwrite each other."""
    others = {name for name in packages_distributions().get(__name__, []) if name.lower() != PROVIDER}
    return min(others, default=None)
