"""All benchmarks with one trained model, in one table.

python benchmarks/table.py [--json] [--run DIR] [--data-dir DIR] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import generate, judge, ngram, posterior, train_epoch
from benchmarks.command import Setting, main
from benchmarks.report import Report
from benchmarks.sizes import SMOKE

BENCHMARKS = {
    "posterior": posterior.measure,
    "generate": generate.measure,
    "train_epoch": train_epoch.measure,
    "judge": judge.measure,
}


def measure(setting: Setting) -> Report:
    """Run the benchmarks one after the other; rows name theirs, `unit` is a map from its name."""
    reports = {name: run(setting) for name, run in BENCHMARKS.items()}
    return {
        "results": [{"benchmark": name, **row} for name, report in reports.items() for row in report["results"]],
        "ablation": reports["posterior"]["ablation"],
        "epochs": reports["train_epoch"]["epochs"],
        "ngram": ngram.measure(setting.corpus, setting.repetitions, smoke=setting.sizes is SMOKE),
        "unit": {name: report["unit"] for name, report in reports.items()} | {"ngram": ngram.UNIT},
    }


if __name__ == "__main__":
    main("All benchmarks in one table.", measure)
