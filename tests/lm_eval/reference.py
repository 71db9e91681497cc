"""Models of KenLM's lmplz 0.3.0 to compare with, a reader of ARPA text, a plain query of what it read; lmplz itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lm_eval.kneser_ney import KneserNeySettings

__all__ = ["GRAMMAR", "PTB", "TINY", "Arpa", "log_prob", "needs_lmplz", "parse_arpa", "settings_of"]

HERE = Path(__file__).parent
# Whole models of small texts, and of the Penn Treebank a sample of n-grams by word id (its text is not free).
TINY: list[dict[str, Any]] = json.loads((HERE / "lmplz_tiny.json").read_bytes())
PTB: list[dict[str, Any]] = json.loads((HERE / "lmplz_ptb.json").read_bytes())
# Of 2,000 sentences of the artificial grammar: sums over all n-grams of an order, some n-grams, scores of a text.
GRAMMAR: dict[str, Any] = json.loads((HERE / "lmplz_grammar.json").read_bytes())

# Looked for while tests are collected, where PATH is still the user's.
needs_lmplz = pytest.mark.skipif(shutil.which("lmplz") is None, reason="needs KenLM's lmplz on PATH")

Arpa = dict[tuple[str, ...], tuple[float, float]]


def parse_arpa(text: str) -> Arpa:
    """(words) → (log10 probability, log10 back-off), all orders."""
    entries: Arpa = {}
    within = False
    for line in text.split("\n"):
        if line.startswith("\\"):
            within = line.endswith("-grams:")
        elif within and line:
            prob, words, *backoff = line.split("\t")
            entries[tuple(words.split(" "))] = (float(prob), float(backoff[0]) if backoff else 0.0)
    return entries


def log_prob(arpa: Arpa, context: tuple[str, ...], word: str) -> float:
    """log10 p(word | context) by the definition of back-off, one n-gram at a time."""
    entry = arpa.get((*context, word))
    if entry is not None:
        return entry[0]
    return arpa.get(context, (0.0, 0.0))[1] + log_prob(arpa, context[1:], word)


def settings_of(reference: dict[str, Any]) -> KneserNeySettings:
    """lmplz's options as ours."""
    words = reference["options"].split()
    options: dict[str, Any] = {"fallback": "--discount_fallback" in words}
    if "--interpolate_unigrams" in words:
        options["interpolate_unigrams"] = False
    if "--vocab_pad" in words:
        options["vocab_pad"] = int(words[words.index("--vocab_pad") + 1])
    if "--prune" in words:
        options["prune"] = tuple(map(int, words[words.index("--prune") + 1 :]))
    return KneserNeySettings(order=reference["order"], **options)
