"""The exceptions of the whole package; that of bad input is defined with the text layer, which judges share."""

from __future__ import annotations

from .text.errors import InputError

__all__ = ["InputError", "LostProcessError"]


class LostProcessError(RuntimeError):
    """One of several processes that work together is gone, and the others cannot go on; exit code 1."""
