"""The warning about words outside the vocabulary, which a model reads as `<unk>`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from lebm_text.visible import shortened

from .tokenizers import Tokenizer

__all__ = ["warn_of_unknown"]

logger = logging.getLogger(__name__)

_NAMED = 20  # maximum number of words listed


def warn_of_unknown(tokenizer: Tokenizer, sentences: Iterable[str]) -> None:
    """Log a warning about words outside the vocabulary, and say which of them it has in lower case."""
    words = list(dict.fromkeys(word for sentence in dict.fromkeys(sentences) for word in tokenizer.unknown(sentence)))
    if not words:
        return
    lower = [word.lower() for word in words if word != word.lower() and not tokenizer.unknown(word.lower())]
    known = f"; in lower case known: {_listed(lower)}" if lower else ""
    logger.warning(f"not in the vocabulary, read as <unk>: {_listed(words)}{known}")


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
    return ", ".join(map(shortened, words[:_NAMED])) + more
