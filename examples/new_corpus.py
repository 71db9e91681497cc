"""A corpus of your own in one file, made by a program: it is trained on by its name, and found again by its run.

A corpus is a dataclass, whose fields are its settings, with a method `sentences(split)`; with `labels(split)`, too,
each sentence has a label. On the command line: `lebm-text train new_corpus:Grammar,n=500`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tiny_text

from lebm_text import train
from lebm_text.checks import Section, in_range, setting

SEEDS = {"train": 0, "valid": 1, "test": 2}


@dataclass(frozen=True)
class Grammar(Section):
    section = "corpus"
    n: int = setting(800, in_range, 10, 1_000_000)  # sentences to train on

    def sentences(self, split: str) -> Iterable[str]:
        return tiny_text.sentences(self.n if split == "train" else 100, SEEDS[split])

    def labels(self, split: str) -> Iterable[str]:
        """Whether somebody sees somebody."""
        return ("sees" if " sees " in line else "other" for line in self.sentences(split))


SETTINGS = {
    "model": {"latent_dim": 4, "embedding_dim": 16, "hidden_dim": 16, "prior_hidden_dim": 16},
    "inference": {"n_steps": 3},
    "prior": {"n_steps": 3},
    "training": {"n_epochs": 1, "n_threads": 1},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        run = train("new_corpus:Grammar,n=300", out=Path(name) / "run", overrides=SETTINGS, device="cpu")
        print(*run.model(device="cpu").generate(3).sentences, sep="\n")
        print({split: text.n_sentences for split, text in run.corpus().splits.items()})
        print(run.environment["corpus"]["made_by"])


if __name__ == "__main__":
    main()
