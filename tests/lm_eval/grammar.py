"""A small artificial language with a long tail of words, each of which goes with few others."""

from __future__ import annotations

import numpy as np

__all__ = ["grammar_sentences"]

_N_TOPICS, _N_WORDS = 40, 30


def grammar_sentences(n: int, seed: int) -> list[str]:
    """`n` sentences such as `the adj3.1 noun3.0 verb3.2 a noun3.7 and noun3.0 verb3.9 again`.

    A sentence keeps to one topic (the number before the point), which no n-gram can know at its beginning,
    and may come back to its subject.
    """
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
    return sentences
