"""Training on a text larger than memory: the cost of each step, and whether it grows along the way.

python benchmarks/stream.py DIRECTORY [--tokens N] [--updates N] [--json] [--threads N]; see docs/scale.md. The text is
drawn from a Zipf distribution over 10,000 words; all files are written to DIRECTORY, which may be deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import peak_mb, resident
from benchmarks.report import Report, table
from lebm_text.config import Config
from lebm_text.text.batching import BatchPlan, prefetch
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.reading import Split
from lebm_text.training.data import PreparedText, prepare_text, train_tokenizer
from lebm_text.training.events import Event
from lebm_text.training.train import train

N_WORDS = 10_000
MEAN_LENGTH = 20  # words per sentence; one more token with </s>
BLOCK = 20_000  # sentences drawn at a time
PARTS = 10  # rows of a step that shows its progress
COLUMNS = (
    "step",
    "tokens",
    "seconds",
    "cpu_seconds",
    "tokens_per_second",
    "tokens_per_cpu_second",
    "resident",
    "anonymous",
)
CONFIG: dict[str, dict[str, Any]] = {
    "model": {"latent_dim": 16, "embedding_dim": 32, "hidden_dim": 32, "prior_hidden_dim": 32},
    "inference": {"n_steps": 2},
    "prior": {"n_steps": 2},
    "training": {"report_every": 10, "batch_size": 64, "checkpoint_every": 1_000_000, "validation_sentences": 100},
}

T = TypeVar("T")


class Log:
    """Rows of a table: a step, or a tenth of it, its tokens and seconds, and the memory in use at its end, in MB.

    `cpu_seconds` are those of all threads, which on a busy machine vary less than wall-clock time. `resident`
    includes pages of mapped files, which the system reclaims when needed; `anonymous` is what the
    process itself uses.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._since = time.perf_counter(), time.process_time()

    def begin(self) -> None:
        """Start measuring the next row."""
        self._since = time.perf_counter(), time.process_time()

    def add(self, step: str, tokens: int | None = None, *, speed: float | None = None) -> None:
        """Add a row for the time since the last one, or since `begin`; with `tokens`, or at a known speed."""
        seconds, cpu_seconds = time.perf_counter() - self._since[0], time.process_time() - self._since[1]
        row = {"step": step, "tokens": tokens, "seconds": seconds, "cpu_seconds": cpu_seconds}
        row["tokens_per_second"] = speed if tokens is None else tokens / seconds
        row["tokens_per_cpu_second"] = None if tokens is None else tokens / cpu_seconds
        self.rows.append(row | resident())
        self.begin()

    def whole(self, step: str, act: Callable[[], T]) -> T:
        """Run `act()` as one row."""
        self.begin()
        result = act()
        self.add(step)
        return result

    def watched(self, step: str, items: Iterable[T], tokens_of: Callable[[T], int], total: int) -> Iterator[T]:
        """Yield `items`, and add a row for each tenth of their tokens."""
        self.begin()
        tokens = before = parts = 0
        for item in items:
            yield item
            tokens += tokens_of(item)
            if tokens * PARTS >= total * (parts + 1):
                self.add(step, tokens - before)
                before, parts = tokens, parts + 1


def write_corpus(directory: Path, n_tokens: int, log: Log) -> None:
    """Write train.txt of about `n_tokens` tokens with `</s>`, and short valid.txt and test.txt."""
    directory.mkdir(parents=True)
    for seed, (name, n) in enumerate({"valid": 1000, "test": 1000}.items(), start=1):
        _write(directory / f"{name}.txt", _sentences(n * (MEAN_LENGTH + 1), seed))
    _write(directory / "train.txt", log.watched("write", _sentences(n_tokens, 0), _n_tokens, n_tokens))


def _write(path: Path, sentences: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{sentence}\n" for sentence in sentences)


def _sentences(n_tokens: int, seed: int) -> Iterator[str]:
    rng = np.random.Generator(np.random.PCG64(seed))
    words = np.array([f"w{rank}" for rank in range(N_WORDS)], dtype=object)
    cumulative = np.cumsum(1 / np.arange(1, N_WORDS + 1))
    left = n_tokens // (MEAN_LENGTH + 1)
    while left > 0:
        lengths = 1 + rng.poisson(MEAN_LENGTH - 1, min(BLOCK, left))
        ranks = np.searchsorted(cumulative, rng.random(int(lengths.sum())) * cumulative[-1], side="right")
        drawn, ends = words[np.minimum(ranks, N_WORDS - 1)].tolist(), np.cumsum(lengths).tolist()
        yield from (" ".join(drawn[end - n : end]) for end, n in zip(ends, lengths.tolist(), strict=True))
        left -= len(lengths)


def _n_tokens(sentence: str) -> int:
    return sentence.count(" ") + 2


@dataclass(frozen=True)
class _Watched(Split):
    """A split whose reading is logged."""

    watch: Callable[[Iterator[str]], Iterator[str]] = iter

    def sentences(self) -> Iterator[str]:
        return self.watch(super().sentences())


def _seen(corpus: Corpus, log: Log, step: str) -> Corpus:
    split = corpus.splits["train"]
    total = split.n_words + split.n_sentences
    watched = _Watched(**vars(split), watch=lambda sentences: log.watched(step, sentences, _n_tokens, total))
    return replace(corpus, splits=corpus.splits | {"train": watched})


def prepare(corpus: Corpus, config: Config, log: Log) -> PreparedText:
    """Build vocabulary and encoding, into the cache."""
    tokenizer = train_tokenizer(_seen(corpus, log, "vocabulary"), config.text)
    return prepare_text(_seen(corpus, log, "encode"), config.text, tokenizer, 100)


def iterate(text: PreparedText, config: Config, log: Log) -> None:
    """Iterate over all batches of an epoch, as training does."""
    settings = config.training
    plan = BatchPlan(text.train, settings.batch_size, settings.batch_tokens, settings.seed)
    order = log.whole("order", lambda: plan.epoch(0))
    with closing(prefetch(plan.corpus.batch, order)) as batches:
        for _ in log.watched("batches", batches, lambda batch: batch.n_tokens, len(text.train.tokens)):
            pass


def learn(directory: Path, corpus: Corpus, config: Config, updates: int, log: Log) -> None:
    """Train half of the updates in one call and resume for the others, which reuses the encoded text."""

    def listen(step: str) -> Callable[[Event], None]:
        log.begin()

        def on_event(event: Event) -> None:
            if event.kind == "start":
                log.add(f"{step}, until the first update")
            if event.kind == "report":
                log.add(step, speed=event.data["tokens_per_second"])

        return on_event

    half = max(config.training.report_every, updates // 2)
    train(corpus, out=directory / "run", config=config, device="cpu", max_steps=half, on_event=listen("train"))
    train(out=directory / "run", resume=True, device="cpu", max_steps=2 * half, on_event=listen("resume"))


def measure(directory: Path, n_tokens: int, updates: int, config: Config) -> Report:
    """Run all steps, in the order in which a user takes them, in one process."""
    log = Log()
    write_corpus(directory / "corpus", n_tokens, log)
    corpus = log.whole("count", lambda: find_corpus(str(directory / "corpus")))
    text = prepare(corpus, config, log)
    iterate(text, config, log)
    learn(directory, corpus, config, updates, log)
    facts = {"sentences": len(text.train), "tokens": len(text.train.tokens)}
    sizes = {"text_mb": corpus.splits["train"].path.stat().st_size / 1e6, "encoded_mb": text.train.tokens.nbytes / 1e6}
    return {"results": log.rows, "peak_mb": peak_mb(), **facts, **sizes}


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description="Memory and speed of a training on a large text, over time.")
    parser.add_argument("directory", type=Path, help="new directory for the text and all that is made of it")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.directory.exists():
        parser.error(f"{options.directory} exists; name a new directory")
    torch.set_num_threads(options.threads)
    os.environ["LEBM_TEXT_CACHE"] = str(options.directory / "cache")
    config = Config().merge(CONFIG | {"training": CONFIG["training"] | {"n_threads": options.threads}})
    found = measure(options.directory, options.tokens, options.updates, config) | {"threads": options.threads}
    rest = "\n".join(f"{key}: {value}" for key, value in found.items() if key != "results")
    sys.stdout.write((json.dumps(found) if options.json else table(found["results"], COLUMNS) + "\n\n" + rest) + "\n")


if __name__ == "__main__":
    main()
