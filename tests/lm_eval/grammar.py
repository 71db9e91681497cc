"""A small artificial language with a long tail of words, each of which goes with few others."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from lm_eval.ngram import NgramModel

__all__ = ["grammar_sentences", "texts_of_falling_quality"]

_N_TOPICS, _N_WORDS = 40, 30


def grammar_sentences(n: int, seed: int) -> list[str]:
    """`n` sentences such as `the adj3.1 noun3.0 verb3.2 a noun3.7 and noun3.0 verb3.9 again`.

    A sentence keeps to one topic (the number before the point), which no n-gram can know at its beginning,
    and may come back to its subject.
    """
    return list(_sentences(n, seed))


@functools.cache
def _sentences(n: int, seed: int) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)

    def draw(kind: str, topic: int) -> str:
        return f"{kind}{topic}.{min(int(rng.pareto(1.0) * 2), _N_WORDS - 1)}"

    sentences = []
    for _ in range(n):
        topic = int(rng.integers(_N_TOPICS))
        subject = draw("noun", topic)
        words = [
            "the",
            *(draw("adj", topic) for _ in range(rng.integers(0, 3))),
            subject,
            draw("verb", topic),
        ]
        for _ in range(rng.integers(0, 3)):
            words += [("a", "the")[rng.integers(2)], *(draw("adj", topic) for _ in range(rng.integers(0, 2)))]
            words += [draw("noun", topic), "and", subject, draw("verb", topic)]
        sentences.append(" ".join([*words, "again"]))
    return tuple(sentences)


def texts_of_falling_quality(train: Sequence[str]) -> dict[str, list[str]]:
    """Texts of as many sentences as the training text `train`, which came from `grammar_sentences`."""
    rng = np.random.default_rng(5)
    words = np.array([word for line in train for word in line.split()])
    lengths = [len(line.split()) for line in train]
    n = len(train)

    def of(stream: Sequence[str]) -> list[str]:
        parts = iter(stream)
        return [" ".join(itertools.islice(parts, length)) for length in lengths]

    return {
        "repeat": [train[0]] * n,
        "real": grammar_sentences(n, 3),
        "5-gram": NgramModel.train(train).sample(n, rng),
        "shuffled": of(rng.permutation(words).tolist()),
        "uniform": of(rng.choice(np.unique(words), len(words)).tolist()),
    }
