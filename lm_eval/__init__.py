"""Judges of generated text: n-gram language models, forward and reverse perplexity, diversity.

    lm_eval.fppl(samples, real_train).ppl        a judge of real text reads the samples
    lm_eval.rppl(samples, real_test).ppl         a judge of the samples reads real text
    lm_eval.fed(samples, real_test).frechet      a sentence encoder compares what they are about
    lm_eval.NgramModel.train(lines, order=5)     a Kneser-Ney model: .score(lines), .save("model.arpa")

The package reads text, never a checkpoint, so it can judge any system; n-gram judges need no torch. `lm_eval` is also
the import name of the LM evaluation harness: `PROVIDER` names this package's distribution, and `foreign_provider`
reports whether another one is installed.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedding import fed
    from .lists import fppl, rppl
    from .ngram import NgramModel
    from .texts import closed_vocabulary

__all__ = ["PROVIDER", "NgramModel", "closed_vocabulary", "fed", "foreign_provider", "fppl", "rppl"]

PROVIDER = "lebm-text"

_MODULES = {"NgramModel": "ngram", "closed_vocabulary": "texts", "fed": "embedding", "fppl": "lists", "rppl": "lists"}


@cache
def foreign_provider() -> str | None:
    """Return the name of another distribution that installs `lm_eval`, or None: the two overwrite each other.

    The search through all distributions takes half a second and is done once.
    """
    others = {name for name in packages_distributions().get(__name__, []) if name.lower() != PROVIDER}
    return min(others, default=None)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
