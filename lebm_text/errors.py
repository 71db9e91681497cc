"""The exceptions of the whole package."""

from __future__ import annotations

__all__ = ["InputError", "LostProcessError", "one_line"]


class InputError(ValueError):
    """Invalid input by the user: one line that names the mistake and the remedy.

    The command line prints that line and exits with 2; any other exception is a bug.
    """


class LostProcessError(RuntimeError):
    """One of several cooperating processes has died, and the others cannot continue; exit code 1."""


def one_line(error: object, most: int | None = None) -> str:
    """Return the text of an exception or a message on one line of at most `most` characters, or its type if empty."""
    return " ".join(str(error).split())[:most] or type(error).__name__
