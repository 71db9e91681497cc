"""What a launcher says of the processes that it has started together. Imports the standard library alone."""

from __future__ import annotations

import os

from .errors import InputError

__all__ = ["n_launched"]


def n_launched() -> int:
    """How many processes `torchrun`, or a launcher that sets the same variables, has started; 1 without one.

    Raises InputError if the variable WORLD_SIZE is no number.
    """
    # Schedulers set WORLD_SIZE for purposes of their own; with a RANK beside it, it is meant for torch.
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if not size.isdecimal():
        raise InputError(f"the variable WORLD_SIZE should be the number of processes, got {size!r}")
    return int(size)
