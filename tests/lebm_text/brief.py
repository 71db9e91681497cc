"""What a training measures of itself, measured with fewer steps: two thirds of the time that a tiny one takes.

`python -m tests.lebm_text.brief ARGUMENTS` is the command line with such trainings, for tests that need a process.
"""

from __future__ import annotations

import sys
from functools import partial

from lebm_text.training import monitor

__all__ = ["measure_briefly"]


def measure_briefly() -> None:
    """In `probe` alone: the tests of the two functions call them as they are."""
    monitor.chain_gap = partial(monitor.chain_gap, n=16, n_proposals=2)
    monitor.largest_curvature = partial(monitor.largest_curvature, n_iterations=2)


if __name__ == "__main__":
    from lebm_text.cli.main import main

    measure_briefly()
    sys.exit(main())
