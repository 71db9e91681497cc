"""Small talk in English, tokenised as the Penn Treebank is, with a tail of rare names; and as people type it."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["everyday_sentences", "glued"]

_SUBJECTS = ["the staff", "the chef", "my husband", "the owner", "our waiter", "everyone", "the man at the door", "i"]
_VERBS = ["loved", "did n't like", "ordered", "was n't sure about", "brought", "ca n't stand", "had", "sent back"]
_THINGS = ["the soup", "a salad", "their pizza", "the fresh bread", "that old wine", "the fish", "coffee", "chicken"]
_ENDS = [" .", " !", " , and it 's great .", " , but it was n't good .", " at $ 5 .", " , i 'd say .", " ... ", ""]


def everyday_sentences(n: int, seed: int) -> list[str]:
    """`n` sentences such as `the chef did n't like the soup from lobano , but it was n't good .`"""
    rng = np.random.default_rng(seed)

    def one(parts: list[str]) -> str:
        return parts[rng.integers(len(parts))]

    def name() -> str:
        number = int(rng.pareto(0.9) * 20)
        return "".join("bdfglmnprstz"[number // 12**i % 12] + "aeio"[(number + i) % 4] for i in range(4))

    sentences = []
    for _ in range(n):
        where = f" from {name()}" if rng.random() < 0.4 else ""
        sentences.append(f"{one(_SUBJECTS)} {one(_VERBS)} {one(_THINGS)}{where}{one(_ENDS)}".strip())
    return sentences


def glued(sentence: str) -> str:
    """As it is typed: `The chef didn't like the soup from lobano, but it wasn't good.`"""
    text = re.sub(r" (n't|'\w+|[.,!]+)", r"\1", sentence).replace("$ ", "$")
    return text[:1].upper() + text[1:]
