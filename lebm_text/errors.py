"""The exception of the whole package, defined with the text layer so that judges need nothing else."""

from __future__ import annotations

from .text.errors import InputError

__all__ = ["InputError"]
