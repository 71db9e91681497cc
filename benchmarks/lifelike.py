"""Synthetic text with the size, sentence lengths and word frequencies of the Penn Treebank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.sizes import EOS, N_SPECIAL
from lebm_text.text.batching import EncodedCorpus

__all__ = ["LONGEST", "SENTENCES", "lengths", "lifelike", "write_corpus", "zipf"]

SENTENCES, LONGEST = 42_068, 83  # of PTB's training text; tokens with `</s>`, as in the mean
_MEAN, _SHAPE = 22.1, 4.5  # of a gamma distribution, whose standard deviation is then 10.4; PTB's is 10.1
_RANK_OFFSET = 2.7  # of Zipf's law for words, in Mandelbrot's form
_SPLITS = {"train": 1.0, "valid": 0.08, "test": 0.09}  # numbers of sentences relative to the training text


def zipf(rng: np.random.Generator, n_types: int, shape: int | tuple[int, ...]) -> NDArray[np.int64]:
    """Draw ranks from 1 to n_types by Zipf's law, 1 / (rank + 2.7)."""
    ranks = np.arange(1, n_types + 1)
    frequencies = 1 / (ranks + _RANK_OFFSET)
    return rng.choice(ranks, shape, p=frequencies / frequencies.sum())


def lengths(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw (n,) lengths of sentences in tokens with `</s>`, from 2 to 83."""
    return np.rint(rng.gamma(_SHAPE, _MEAN / _SHAPE, n)).clip(2, LONGEST).astype(np.int64)


def lifelike(n: int, vocab_size: int, *, seed: int = 0) -> EncodedCorpus:
    """Return n sentences of ids below `vocab_size`, determined by the seed."""
    rng = np.random.default_rng(seed)
    ends = lengths(n, rng).cumsum()
    tokens = N_SPECIAL - 1 + zipf(rng, vocab_size - N_SPECIAL, int(ends[-1]))
    tokens[ends - 1] = EOS
    return EncodedCorpus(tokens.astype(np.int32), np.concatenate([[0], ends]))


def write_corpus(directory: Path, n: int, vocab_size: int) -> Path:
    """Write a corpus of n training sentences to a new `directory`, for `find_corpus`."""
    directory.mkdir()
    for seed, (split, share) in enumerate(_SPLITS.items()):
        text = lifelike(max(1, round(share * n)), vocab_size, seed=seed)
        words = [f"w{token}" for token in text.tokens.tolist()]
        ends = zip(text.offsets[:-1].tolist(), (text.offsets[1:] - 1).tolist(), strict=True)
        lines = "".join(" ".join(words[start:end]) + "\n" for start, end in ends)
        (directory / f"{split}.txt").write_text(lines, encoding="utf-8")
    return directory
