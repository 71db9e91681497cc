r"""A direction of the latent space that stands for an attribute, from labelled sentences by a linear probe.

    P(positive | x) = σ(w·z̄(x) + b),  direction u = w/‖w‖,  moved sentence: decode(z + s·σ_u u)

z̄ is the posterior mean, σ_u the standard deviation of z̄·u over sentences. The probe is scikit-learn's logistic
regression with its default penalty (Alain and Bengio, 2017, for probes). A bag of words under the same regression on
the same labels is what the latent space has to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.model import LatentEBM

from .drawing import panels, save_pictures

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Probe",
    "Scores",
    "accuracy_by_size",
    "bag_of_words",
    "classify",
    "fit_probe",
    "move",
    "other_direction",
    "plot_directions",
]

Features = Any  # (n, D), dense or a sparse matrix
Labels = NDArray[np.bool_]


class Scores(NamedTuple):
    """Held-out accuracies of probes of n labelled sentences, one for each draw of these."""

    n: int
    accuracy: list[float]

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.accuracy))

    @property
    def spread(self) -> float | None:
        """Standard deviation over draws; None of a single one."""
        return float(np.std(self.accuracy, ddof=1)) if len(self.accuracy) > 1 else None


class Probe(NamedTuple):
    """Unit direction u (D,) towards positive sentences, and σ_u."""

    direction: Tensor
    scale: float


def bag_of_words(train: Sequence[str], held_out: Sequence[str]) -> tuple[Features, Features]:
    """Counts of the words of the training sentences, as sparse matrices.

    The penalty keeps the weight of a word at 0 that a subset lacks, so that one vocabulary serves all subsets.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(lowercase=False, token_pattern=r"[^ ]+")
    return counter.fit_transform(train), counter.transform(held_out)


def accuracy_by_size(
    train: tuple[Features, Labels], held_out: tuple[Features, Labels], sizes: Sequence[int], n_draws: int, *, seed: int
) -> list[Scores]:
    """Accuracy of probes learned from n sentences, for each n of `sizes`.

    The sentences of draw i depend on (seed, n, i), so that different features are compared on the same ones. A size
    that is all of `train` has one draw. Both classes occur in every draw; `train` must hold both.
    """
    (features, labels), (tests, truth) = train, held_out
    found = []
    for n in sizes:
        accuracy = []
        for draw in range(n_draws if n < len(labels) else 1):
            rows = _both_classes(labels, n, np.random.Generator(np.random.PCG64([seed, n, draw])))
            accuracy.append(float(_regression(features[rows], labels[rows]).score(tests, truth)))
        found.append(Scores(n, accuracy))
    return found


def fit_probe(means: Tensor, labels: Labels) -> Probe:
    """From posterior means (n, D)."""
    weight = torch.from_numpy(_regression(means.numpy(), labels).coef_[0]).float()
    direction = F.normalize(weight, dim=0)
    return Probe(direction, float((means @ direction).std()))


def other_direction(direction: Tensor, *, seed: int) -> Tensor:
    """A random unit vector at right angles to `direction` (D,): what a move of that length does by itself."""
    drawn = torch.randn(len(direction), generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn - (drawn @ direction) * direction, dim=0)


def move(model: LatentEBM, z: Tensor, step: Tensor, shifts: Sequence[float]) -> list[list[str]]:
    """The sentences decoded greedily from z + s · step, for each s of `shifts`: z (n, D), step (D,)."""
    return [model.decode(z + shift * step) for shift in shifts]


def classify(train: Sequence[str], labels: Labels, texts: Sequence[Sequence[str]]) -> list[Labels]:
    """Which sentences of each text a bag-of-words classifier takes for positive."""
    flat = [sentence for text in texts for sentence in text]
    counts, wanted = bag_of_words(train, flat)
    verdicts: Labels = _regression(counts, labels).predict(wanted)
    return np.split(verdicts, np.cumsum([len(text) for text in texts])[:-1])


def plot_directions(report: dict[str, Any], stem: Path) -> list[Path]:
    """Draw accuracy by number of labels, and the share of moved sentences taken for positive."""
    figure, (left, right) = panels(1, 2, ["accuracy on held-out sentences", "moved sentences taken for positive"])
    names = {"probe": "probe of posterior means", "bag_of_words": "bag of words"}
    sizes = [row["n"] for row in report["accuracy"]]
    for key, label in names.items():
        means = [row[key]["mean"] for row in report["accuracy"]]
        spreads = [row[key]["spread"] or 0.0 for row in report["accuracy"]]
        left.errorbar(sizes, means, yerr=spreads, fmt="o-", markersize=3, label=label)
    left.axhline(report["majority"], color="C3", linewidth=0.8, label="majority")
    left.set_xscale("log")
    left.set_xlabel("labelled sentences")
    for key, label in {"attribute": "along the direction", "random": "along a random one"}.items():
        rows = report["moved"][key]
        share, errors = ([row[name] for row in rows] for name in ("share_positive", "standard_error"))
        right.errorbar([row["shift"] for row in rows], share, yerr=errors, fmt="o-", markersize=3, label=label)
    right.set_xlabel("shift, standard deviations")
    for panel in (left, right):
        panel.legend(fontsize="small")
    return save_pictures(figure, stem)


def _regression(features: Features, labels: Labels) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(features, labels)


def _both_classes(labels: Labels, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n rows; where chance gave one class alone, the last gives way to the first of the other."""
    order = rng.permutation(len(labels))
    rows = order[:n]
    if len(np.unique(labels[rows])) == 1:
        rows[-1] = order[labels[order] != labels[rows[0]]][0]
    return rows
