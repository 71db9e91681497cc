"""Training updates on an idle and on a busy machine, by how OpenMP's threads wait for each other.

python benchmarks/busy.py [--json] [--smoke] [--threads N] [--load N] [--repetitions N]; see docs/performance.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.command import basic_parser, positive
from benchmarks.report import Report, table
from benchmarks.sizes import FULL, SMOKE
from benchmarks.train_epoch import contestant
from lebm_text.threads import SHORT_SPIN

ROOT = Path(__file__).resolve().parents[1]
WARM_UP, UPDATES, BATCH = 1, 6, 64
SIZES = replace(FULL, vocab_size=2_700, n_steps=10)  # about those of the preset quick on the E2E text
LOOP = "while True: pass"
COLUMNS = ("load", "waiting", "threads", "seconds", "ratio")


def measure(n_threads: int, n_loops: int, repetitions: int, *, smoke: bool) -> Report:
    """Return a row for each way of waiting, alone and with `n_loops` Python loops; `ratio` is to one thread."""
    ways: dict[str, tuple[dict[str, str], int]] = {
        "long (OpenMP's default)": ({}, n_threads),
        "short (that of every command)": (SHORT_SPIN, n_threads),
        "none (OMP_WAIT_POLICY=passive)": ({"OMP_WAIT_POLICY": "passive"}, n_threads),
        "one thread": ({}, 1),
    }
    rows = []
    for n in (0, n_loops):
        with _loops(n):
            turns = [{way: _updates(*how, smoke=smoke) for way, how in ways.items()} for _ in range(repetitions)]
        seconds = {way: statistics.median(turn[way] for turn in turns) for way in ways}
        rows += [
            {"load": n, "waiting": way, "threads": how[1], "seconds": seconds[way], "ratio": seconds[way] / alone}
            for alone in [seconds["one thread"]]
            for way, how in ways.items()
        ]
    return {"results": rows, "unit": f"seconds of {UPDATES} updates", "load_before": os.getloadavg()[0]}


def _updates(variables: dict[str, str], n_threads: int, *, smoke: bool) -> float:
    """Return seconds of `UPDATES` updates in a new process, with these environment variables."""
    environment = {name: value for name, value in os.environ.items() if name not in {"OMP_WAIT_POLICY", *SHORT_SPIN}}
    command = [sys.executable, __file__, "--child", "--threads", str(n_threads), *["--smoke"] * smoke]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


@contextmanager
def _loops(n: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _child(*, smoke: bool) -> float:
    sizes = SMOKE if smoke else SIZES
    update = contestant(sizes, BATCH, sizes.length, "float32")
    for _ in range(WARM_UP):
        update()
    start = time.perf_counter()
    for _ in range(UPDATES):
        update()
    return time.perf_counter() - start


def main() -> None:
    """Parse the options, measure, print."""
    parser = basic_parser("Updates idle and beside other work, by how threads wait.", repetitions=3)
    parser.add_argument("--load", type=positive, default=2, metavar="N", help="Python loops beside the training")
    parser.add_argument("--child", action="store_true", help="time the updates here, and print the seconds alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        sys.stdout.write(f"{_child(smoke=options.smoke)}\n")
        return
    found = measure(options.threads, options.load, options.repetitions, smoke=options.smoke)
    found |= {"threads": options.threads, "smoke": options.smoke, "torch": torch.__version__}
    sys.stdout.write((json.dumps(found) if options.json else table(found["results"], COLUMNS)) + "\n")


if __name__ == "__main__":
    main()
