"""How the cost of a posterior chain grows with each of its sizes, with the others fixed.

python benchmarks/growth.py [--json] [--smoke] [--threads N] [--repetitions N]; see docs/performance.md.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.command import basic_parser
from benchmarks.measure import interleaved
from benchmarks.posterior import contestant
from benchmarks.report import Report, table
from benchmarks.sizes import FULL, PRECISIONS, SMOKE, Sizes
from lebm_text.models.lstm import resolve_precision

BATCH, STEPS = 128, 10
GROWTH = {
    "batch": (8, 32, 128, 512),
    "length": (10, 21, 41, 82),
    "vocab_size": (10_002, 30_000, 100_000),
    "width": (128, 256, 512),
    "n_steps": (5, 10, 20, 40),
}
COLUMNS = ("size", "value", "seconds", "ours", "cost", "operations", "cost_per_operation")


def measure(repetitions: int, *, smoke: bool) -> Report:
    """Return a row per value: seconds of a chain, token-steps per second, cost and operations relative to the first."""
    base = replace(SMOKE if smoke else FULL, n_steps=STEPS)
    precision = resolve_precision("auto", torch.device("cpu"))
    name = next(name for name, short in PRECISIONS.items() if short == precision)
    rows: list[dict[str, Any]] = []
    for size, values in GROWTH.items():
        tried = {value: _changed(base, size, value) for value in (values[:2] if smoke else values)}
        seconds = interleaved({str(v): contestant(sizes, n, name) for v, (sizes, n) in tried.items()}, repetitions)
        rows += _rows(size, tried, seconds)
    return {"results": rows, "unit": "token-steps/s", "precision": name, "base": {"batch": BATCH, **_base(base)}}


def _changed(base: Sizes, size: str, value: int) -> tuple[Sizes, int]:
    return (base, value) if size == "batch" else (replace(base, **{size: value}), BATCH)


def _rows(size: str, tried: dict[int, tuple[Sizes, int]], seconds: dict[str, float]) -> list[dict[str, Any]]:
    units = {value: n * sizes.length * sizes.n_steps for value, (sizes, n) in tried.items()}
    work = {value: units[value] * sizes.posterior_work() for value, (sizes, _) in tried.items()}
    first = next(iter(tried))
    rows = []
    for value in tried:
        cost, operations = seconds[str(value)] / seconds[str(first)], work[value] / work[first]
        rows.append(
            {
                "size": size,
                "value": value,
                "seconds": seconds[str(value)],
                "ours": units[value] / seconds[str(value)],
                "cost": cost,
                "operations": operations,
                "cost_per_operation": cost / operations,
            }
        )
    return rows


def _base(base: Sizes) -> dict[str, int]:
    return {name: getattr(base, name) for name in GROWTH if name != "batch"}


def main() -> None:
    """Parse the options, measure, print."""
    options = basic_parser("How the posterior chain's cost grows with its sizes.", repetitions=3).parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options.repetitions, smoke=options.smoke) | {"threads": options.threads, "smoke": options.smoke}
    sys.stdout.write((json.dumps(found) if options.json else table(found["results"], COLUMNS)) + "\n")


if __name__ == "__main__":
    main()
