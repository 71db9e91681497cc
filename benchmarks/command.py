"""The command line shared by all benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.report import Report, as_text
from benchmarks.sizes import FULL, SMOKE, Sizes
from benchmarks.trained import Trained, corpus_of, run_directory, trained_model
from lebm_text import __version__
from lebm_text.text.corpora import Corpus

__all__ = ["Setting", "add_corpus", "basic_parser", "main", "positive"]


@dataclass(frozen=True)
class Setting:
    """Inputs of a benchmark: sizes, repetitions, a corpus, and a trained model with its directory."""

    sizes: Sizes
    repetitions: int
    corpus: Corpus
    run: Path
    trained: Trained


def main(description: str, measure: Callable[[Setting], Report], argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print the report and the conditions of its figures."""
    options = _parser(description).parse_args(argv)
    torch.set_num_threads(options.threads)
    sizes = SMOKE if options.smoke else FULL
    corpus = corpus_of(options.corpus, options.data_dir, options.run)
    with run_directory(options.run, corpus, sizes) as run:
        trained = trained_model(run, corpus, sizes)
        report = measure(Setting(sizes, options.repetitions, corpus, run, trained))
    report |= {
        "errors_from": {"corpus": corpus.name, **trained.describe()},
        "smoke": options.smoke,
        "threads": options.threads,
        "repetitions": options.repetitions,
        "torch": torch.__version__,
        "lebm_text": __version__,
    }
    sys.stdout.write((json.dumps(report) if options.json else as_text(report)) + "\n")


def _parser(description: str) -> argparse.ArgumentParser:
    parser = basic_parser(description)
    parser.add_argument("--run", type=Path, metavar="DIR", help="take this run's model instead of training one")
    add_corpus(parser, "the run's own, else kjv")
    return parser


def basic_parser(description: str, repetitions: int = 5) -> argparse.ArgumentParser:
    """Return the parser for the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads(), metavar="N")
    parser.add_argument(
        "--repetitions", type=positive, default=repetitions, metavar="N", help="of which medians are taken"
    )
    return parser


def add_corpus(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the options of benchmarks that read text."""
    parser.add_argument("--corpus", metavar="NAME", help=f"name or directory of its text; {default}")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where corpora lie")


def positive(text: str) -> int:
    """Parse a positive integer option."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
