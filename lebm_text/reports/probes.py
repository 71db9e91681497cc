"""Linear probes: how well a label can be read off features of sentences, by number of labelled sentences.

A probe is scikit-learn's logistic regression with its default penalty (Alain and Bengio, 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.text.reading import split_words

from .base import with_error

__all__ = ["Accuracy", "Features", "Labels", "Probe", "accuracy_by_size", "bag_of_words", "fit_probe"]
__all__ += ["other_direction", "regression", "standard_error"]

Features = Any  # (n, D), dense or a sparse matrix
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on held-out sentences, of classifiers trained on different random sets of labelled sentences.

    Attributes:
        mean: over the training sets.
        spread: standard deviation over the training sets; None for a single one.
        standard_error: of the mean, due to the number of held-out sentences.
        draws: accuracy for each training set.
    """

    mean: float
    spread: float | None
    standard_error: float
    draws: list[float]

    def __str__(self) -> str:
        return with_error(self.mean, self.spread)


class Probe(NamedTuple):
    """The unit direction u (D,) towards positive sentences, and σ_u."""

    direction: Tensor
    scale: float


def bag_of_words(train: Sequence[str]) -> Any:
    """Return a CountVectorizer fitted to the training sentences; its `transform` gives a sparse matrix of word counts.

    All training subsets share its vocabulary: the penalty keeps the weight of a word that does not occur at 0.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(lowercase=False, analyzer=split_words).fit(train)


def accuracy_by_size(
    train: tuple[Features, Labels], held_out: tuple[Features, Labels], sizes: Sequence[int], n_draws: int, *, seed: int
) -> list[Accuracy]:
    """Return the accuracy of probes trained on n sentences, for each n of `sizes`.

    Training set i of size n depends only on (seed, n, i), so that different features are compared on the same sets.
    There is one set if n is all of `train`. Every set has both classes; `train` must have both.
    """
    (features, labels), (tests, truth) = train, held_out
    found = []
    for n in sizes:
        draws = []
        for draw in range(n_draws if n < len(labels) else 1):
            rows = _both_classes(labels, n, np.random.Generator(np.random.PCG64([seed, n, draw])))
            draws.append(float(regression().fit(features[rows], labels[rows]).score(tests, truth)))
        mean, spread = float(np.mean(draws)), float(np.std(draws, ddof=1)) if len(draws) > 1 else None
        found.append(Accuracy(mean, spread, standard_error(mean, len(truth)), draws))
    return found


def fit_probe(means: Tensor, labels: Labels) -> Probe:
    """Return the probe trained on posterior means (n, D)."""
    weight = torch.from_numpy(regression().fit(means.numpy(), labels).coef_[0]).float()
    direction = F.normalize(weight, dim=0)
    return Probe(direction, float((means @ direction).std()))


def other_direction(direction: Tensor, *, seed: int) -> Tensor:
    """Return a random unit vector (D,) orthogonal to `direction` (D,), as a baseline for moves."""
    drawn = torch.randn(len(direction), generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn - (drawn @ direction) * direction, dim=0)


def regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _both_classes(labels: Labels, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw n rows; if they are all of one class, replace the last by the first row of the other class."""
    order = rng.permutation(len(labels))
    rows = order[:n]
    if len(np.unique(labels[rows])) == 1:
        rows[-1] = order[labels[order] != labels[rows[0]]][0]
    return rows


def standard_error(share: float, n: int) -> float:
    """Return the standard error of a share of n independent sentences."""
    return math.sqrt(share * (1 - share) / n)
