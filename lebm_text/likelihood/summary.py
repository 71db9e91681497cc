r"""From log p(x) of n sentences to the numbers that are reported.

    perplexity = exp(Σ nll / Σ units),   standard error by the delta method of that ratio, over sentences

Two errors stand apart: what other sentences would have given, and what other noise would have given the same sentences.
The error of log Z is common to all sentences and is not averaged away.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["spread", "text_likelihood"]

Floats = NDArray[np.float64]


def text_likelihood(
    log_p: Floats,
    error: Floats,
    words: NDArray[np.int64],
    *,
    log_z_error: float,
    n_bytes: NDArray[np.int64] | None = None,
) -> dict[str, object]:
    """Figures of a text, ready for JSON; None for what one sentence cannot tell.

    Args:
        log_p: (n,) nats.
        error: (n,) their standard errors from sampling z.
        words: (n,) words of each, `</s>` counted.
        n_bytes: (n,) UTF-8 bytes with the line end, for bits a byte; none: no such figure.
    """
    nll = -log_p
    mean, of_mean = _ratio(nll, np.ones(len(nll)))
    per_word, of_word = _ratio(nll, words)
    noise = math.hypot(math.sqrt(float(np.square(error).sum())) / len(nll), log_z_error)
    perplexity = math.exp(per_word)
    figures: dict[str, object] = {
        "n_sentences": len(nll),
        "n_words": int(words.sum()),
        "nll": mean,
        "nll_standard_error": of_mean,
        "nll_sampling_error": None if math.isnan(noise) else noise,
        "perplexity": perplexity,
        "perplexity_standard_error": None if of_word is None else perplexity * of_word,
        "bits_per_byte": None,
        "bits_per_byte_standard_error": None,
    }
    if n_bytes is not None:
        per_byte, of_byte = _ratio(nll / math.log(2), n_bytes)
        figures |= {"bits_per_byte": per_byte, "bits_per_byte_standard_error": of_byte}
    return figures


def spread(values: Floats) -> dict[str, float]:
    """Least, middle and mean of some figures, ready for JSON."""
    return {"min": float(values.min()), "median": float(np.median(values)), "mean": float(values.mean())}


def _ratio(top: Floats, bottom: Floats | NDArray[np.int64]) -> tuple[float, float | None]:
    """Σ top / Σ bottom and its standard error over resampled pairs."""
    n, ratio = len(top), float(top.sum() / bottom.sum())
    if n < 2:
        return ratio, None
    return ratio, float(math.sqrt(n / (n - 1) * np.square(top - ratio * bottom).sum()) / bottom.sum())
