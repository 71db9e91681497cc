"""The exceptions of the whole package."""

from __future__ import annotations

__all__ = ["InputError", "LostProcessError"]


class InputError(ValueError):
    """Something the user gave is wrong: one line that says what it was and what would be right.

    The command line prints it as that line and exits with 2; anything else that is raised is a bug.
    """


class LostProcessError(RuntimeError):
    """One of several processes that work together is gone, and the others cannot go on; exit code 1."""
