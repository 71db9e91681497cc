"""Comparison with another version of this project: an LSTM's update, generation and the n-gram judge.

python benchmarks/versions.py OTHER --run DIR [--json] [--corpus NAME] [--data-dir DIR] [--smoke]; see
docs/performance.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.child import ROOT
from benchmarks.command import add_corpus, basic_parser
from benchmarks.report import Report, as_text
from benchmarks.trained import corpus_of

__all__ = ["COLUMNS", "measure"]

COLUMNS = ("part", "other", "this", "ratio")
BATCH = "32"  # sentences at a time
ORDER = "5"  # of the n-gram judge

# Runs in either version's directory, whose `benchmarks` it imports. Each part has a warm-up run, then three; the least
# counts.
_CHILD = """
import json, sys, time
import torch
from benchmarks import generate, ngram_judge, sizes, train_epoch
from pathlib import Path
from lm_eval.perplexity import perplexity
from lebm_text.text.reading import read_lines
run, train, test, size, n, order, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
size, n, test = getattr(sizes, size), int(n), Path(test)
parts = {
    "update": train_epoch.contestant(size, n, size.length, "float32"),
    "generation": generate.contestant(Path(run), n, "float32"),
    "judge": lambda: perplexity(ngram_judge.judge_of(order, train).score(read_lines(test))),
}
seconds = {}
for name, part in parts.items():
    part()
    taken = []
    for _ in range(3):
        start = time.process_time()
        part()
        taken.append(time.process_time() - start)
    seconds[name] = min(taken)
print(json.dumps(seconds))
"""


def measure(other: Path, arguments: list[str], repetitions: int) -> Report:
    """Return median CPU seconds of each part; the versions take turns, each time in a new process."""
    turns: dict[str, list[dict[str, float]]] = {"other": [], "this": []}
    for _ in range(repetitions):
        for name, directory in (("other", other), ("this", ROOT)):
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, *arguments],
                cwd=directory,
                env={"PATH": "", "PYTHONPATH": str(directory)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"in {directory}: {done.stderr.strip()}")
            turns[name].append(json.loads(done.stdout))
    rows = []
    for part in turns["this"][0]:
        seconds = {name: median(turn[part] for turn in done) for name, done in turns.items()}
        rows.append({"part": part, **seconds, "ratio": seconds["other"] / seconds["this"]})
    return {"results": rows, "unit": "CPU seconds; ratio above 1: this one is faster"}


def main() -> None:
    parser = basic_parser("Speed of another version beside this one's.")
    parser.add_argument("other", type=Path, metavar="OTHER", help="directory of the other version")
    parser.add_argument("--run", type=Path, metavar="DIR", required=True, help="a run that both can read")
    add_corpus(parser, "the run's own")
    options = parser.parse_args()
    corpus, size = corpus_of(options.corpus, options.data_dir, options.run), "SMOKE" if options.smoke else "FULL"
    texts = [str(corpus.splits[split].path.resolve()) for split in ("train", "test")]
    arguments = [str(options.run.resolve()), *texts, size, BATCH, ORDER, str(options.threads)]
    report = measure(options.other.resolve(), arguments, options.repetitions)
    sys.stdout.write((json.dumps(report) if options.json else as_text(report, COLUMNS)) + "\n")


if __name__ == "__main__":
    main()
