"""The exceptions of the whole package."""

from __future__ import annotations

__all__ = ["InputError", "LostProcessError", "one_line"]


class InputError(ValueError):
    """Something the user gave is wrong: one line that says what it was and what would be right.

    The command line prints it as that line and exits with 2; anything else that is raised is a bug.
    """


class LostProcessError(RuntimeError):
    """One of several processes that work together is gone, and the others cannot go on; exit code 1."""


def one_line(error: object, most: int | None = None) -> str:
    """What an exception, or a message, says, on one line of `most` characters; its type if it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__
