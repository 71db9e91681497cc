"""The one exception that a user's mistake raises."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Something the user gave is wrong: one line that says what it was and what would be right.

    The command line prints it as that line and exits with 2; anything else that is raised is a bug.
    """
