"""n-gram models: time, memory and results of our estimator, against KenLM's lmplz if that is on PATH.

python benchmarks/ngram.py [--json] [--corpus NAME] [--data-dir DIR] [--repetitions N]; see docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.child import Finished, run
from benchmarks.command import positive
from benchmarks.measure import interleaved
from benchmarks.report import Report, as_text
from benchmarks.trained import corpus_of
from lebm_text import __version__
from lebm_text.text.corpora import Corpus
from lm_eval.counts import canonical_sentences

__all__ = ["COLUMNS", "UNIT", "compare", "main", "measure"]

ORDERS = (3, 5)
SMOKE_SENTENCES = 300
# By default lmplz claims 80 % of the memory, which takes seconds. This gives the same file sooner.
LMPLZ_MEMORY = "300M"
COLUMNS = (
    "order",
    "difference",
    "arpa_seconds",
    "lmplz_arpa_seconds",
    "arpa_ratio",
    "ppl_seconds",
    "lmplz_ppl_seconds",
    "ppl_ratio",
    "arpa_memory",
    "lmplz_arpa_memory",
    "ppl_memory",
    "lmplz_ppl_memory",
)

UNIT = "seconds; memory in MB; difference in log10"

Arpa = dict[str, tuple[float, float]]


def measure(corpus: Corpus, repetitions: int, *, smoke: bool = False) -> list[dict[str, Any]]:
    """Return one row per order."""
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        for split in ("train", "test"):
            sentences = islice(corpus.splits[split].sentences(), SMOKE_SENTENCES if smoke else None)
            text = "".join(f"{sentence}\n" for sentence in canonical_sentences(sentences))
            (files / split).write_text(text, encoding="utf-8", newline="\n")
        return [_row(order, files, repetitions) for order in ORDERS]


def _row(order: int, files: Path, repetitions: int) -> dict[str, Any]:
    """Run all contestants from text, as separate programs; each one's seconds include its start."""
    train, test = str(files / "train"), str(files / "test")
    ours, theirs = files / "ours.arpa", files / "lmplz.arpa"
    python, lmplz = (sys.executable, "-m"), shutil.which("lmplz")
    contestants: dict[str, list[tuple[str, ...]]] = {
        "arpa": [(*python, "lebm_text", "ngram", "train", train, "-o", str(ours), "--order", str(order))],
        "ppl": [(*python, "benchmarks.ngram_judge", str(order), train, test)],
    }
    if lmplz:
        options = ("--order", str(order), "--memory", LMPLZ_MEMORY, "--temp_prefix", f"{files}/", "--discount_fallback")
        estimates = (lmplz, *options, "--text", train, "--arpa", str(theirs))
        contestants["lmplz_arpa"] = [estimates]
        contestants["lmplz_ppl"] = [estimates, (*python, "benchmarks.ngram_judge", str(theirs), test)]
    finished: dict[str, list[Finished]] = {name: [] for name in contestants}

    def start(name: str) -> None:
        finished[name].append(run(*contestants[name]))

    seconds = interleaved({name: partial(start, name) for name in contestants}, repetitions)
    row: dict[str, Any] = {"order": order}
    for name in contestants:
        row[f"{name}_seconds"] = seconds[name]
        row[f"{name}_memory"] = median(each.memory for each in finished[name])
    row["ppl"] = float(finished["ppl"][-1].output)
    if lmplz:
        row["lmplz_ppl"] = float(finished["lmplz_ppl"][-1].output)
        row["difference"], row["n_ngrams"] = compare(ours, theirs)
        for name in ("arpa", "ppl"):
            row[f"{name}_ratio"] = seconds[f"lmplz_{name}"] / seconds[name]
    return row


def compare(ours: Path, theirs: Path) -> tuple[float, int]:
    """Return the largest absolute difference of two ARPA files' logs to base 10, and the number of n-grams.

    Infinite if one lacks an n-gram of the other.
    """
    largest, n_ngrams = 0.0, 0
    for found, expected in zip(_orders(ours), _orders(theirs), strict=True):
        if found.keys() != expected.keys():
            return float("inf"), n_ngrams
        n_ngrams += len(found)
        pairs = (pair for words, logs in found.items() for pair in zip(logs, expected[words], strict=True))
        largest = max(largest, max((abs(a - b) for a, b in pairs if a != b), default=0.0))
    return largest, n_ngrams


def _orders(path: Path) -> Iterator[Arpa]:
    """Yield the n-grams of an ARPA file, one order at a time: words → log10 probability and back-off."""
    entries: Arpa | None = None
    with path.open(encoding="utf-8", newline="\n") as stream:
        for line in stream:
            text = line.rstrip("\n")
            if text.startswith("\\"):
                if entries is not None:
                    yield entries
                entries = {} if text.endswith("-grams:") else None
            elif entries is not None and text:
                prob, words, *backoff = text.split("\t")
                entries[words] = (float(prob), float(backoff[0]) if backoff else 0.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print the report and the conditions of its figures."""
    options = _parser().parse_args(argv)
    corpus = corpus_of(options.corpus, options.data_dir, None)
    report: Report = {
        "results": measure(corpus, options.repetitions, smoke=options.smoke),
        "unit": UNIT,
        "corpus": corpus.describe(),
        "smoke": options.smoke,
        "repetitions": options.repetitions,
        "lmplz": shutil.which("lmplz"),
        "numpy": np.__version__,
        "lebm_text": __version__,
    }
    sys.stdout.write((json.dumps(report) if options.json else as_text(report, COLUMNS)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time, memory and exactness of n-gram models.")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--smoke", action="store_true", help="a tiny text, to see that everything works")
    parser.add_argument("--corpus", metavar="NAME", help="name or directory of the text; else kjv")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where corpora lie")
    parser.add_argument("--repetitions", type=positive, default=5, metavar="N", help="of which medians are taken")
    return parser


if __name__ == "__main__":
    main()
