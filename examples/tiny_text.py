"""The text of the examples: sentences of a small grammar, written as train.txt, valid.txt and test.txt."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["sentences", "write"]

NOUNS = ["cat", "dog", "bird", "child", "king"]
VERBS = ["sees", "likes", "follows", "hears"]
ADJECTIVES = ["old", "small", "red", "quiet"]


def sentences(n: int, seed: int) -> list[str]:
    """Generate sentences such as: the small dog likes a bird ."""
    draw = random.Random(seed)

    def noun() -> str:
        adjective = [draw.choice(ADJECTIVES)] if draw.random() < 0.5 else []
        return " ".join([draw.choice(["the", "a"]), *adjective, draw.choice(NOUNS)])

    return [f"{noun()} {draw.choice(VERBS)} {noun()} ." for _ in range(n)]


def write(directory: Path) -> Path:
    """Write a corpus for `train` and return its directory."""
    directory.mkdir(parents=True)
    for seed, (split, n) in enumerate((("train", 800), ("valid", 100), ("test", 100))):
        (directory / f"{split}.txt").write_text("\n".join(sentences(n, seed)) + "\n", encoding="utf-8")
    return directory
