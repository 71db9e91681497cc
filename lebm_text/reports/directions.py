r"""A direction of the latent space that stands for an attribute, from labelled sentences by a linear probe.

    P(positive | x) = σ(w·z̄(x) + b),  direction u = w/‖w‖,  moved sentence: decode(z + s·σ_u u)

z̄ is the posterior mean, σ_u the standard deviation of z̄·u over sentences. The probe is scikit-learn's logistic
regression with its default penalty (Alain and Bengio, 2017, for probes). A bag of words under the same regression on
the same labels is what the latent space has to be compared with.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Group
from torch import Tensor

from lebm_text.checks import MAX_DRAWS, each_of, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Labelled, labelled_split, positive_label
from lebm_text.text.reading import split_words
from lebm_text.text.sources import label_path

from .base import Report, Settings, need_sklearn, new_table, origin, with_error
from .drawing import legend, panels
from .posterior import kept_posterior_means, shuffled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Accuracy", "Directions", "DirectionsSettings", "Probe", "compute"]

logger = logging.getLogger(__name__)

Features = Any  # (n, D), dense or a sparse matrix
Labels = NDArray[np.bool_]

_SIZES = (10, 100, 1000)
_SHIFTS = (-4.0, -2.0, 0.0, 2.0, 4.0)
_FEATURES = {"probe": "probe of posterior means", "bag_of_words": "bag of words"}


@dataclass(frozen=True)
class DirectionsSettings(Settings):
    """How a direction is learned and tested.

    Attributes:
        label_dir: where the label files are; None: beside the text.
        positive: the label of the attribute; None: the later of two.
        split: of the run's corpus, to test on: valid or test.
        sizes: numbers of labelled sentences to learn from; none: 10, 100, 1000 as far as there are.
        repeats: draws of each size.
        held_out, moved, shown: sentences to test on, to move, and to keep of those moved.
        draws: M, posterior draws of a sentence.
    """

    label_dir: Path | None = None
    positive: str | None = None
    split: str = setting("valid", one_of, ("valid", "test"))
    sizes: tuple[int, ...] = setting((), each_of, whole, 2)
    repeats: int = setting(10, whole, 1, 1000)
    held_out: int = setting(500, whole, 2)
    moved: int = setting(100, whole, 2)
    shown: int = setting(4, whole, 0)
    draws: int = setting(4, whole, 1, MAX_DRAWS)


@dataclass(frozen=True)
class Accuracy:
    """On held-out sentences, of classifiers that learned from different draws of labelled ones.

    Attributes:
        mean: over the draws.
        spread: standard deviation over the draws; None of a single one.
        standard_error: of the mean, from the number of held-out sentences.
        draws: the accuracy of each.
    """

    mean: float
    spread: float | None
    standard_error: float
    draws: list[float]

    def __str__(self) -> str:
        return with_error(self.mean, self.spread)


@dataclass(frozen=True)
class AccuracyOfSize:
    """What n labelled sentences teach."""

    n: int
    probe: Accuracy
    bag_of_words: Accuracy


@dataclass(frozen=True)
class MovedShare:
    """The share of sentences, moved by `shift` σ_u, that a bag of words takes for positive."""

    shift: float
    share_positive: float
    standard_error: float


@dataclass(frozen=True)
class MovedShares:
    """Along the direction of the attribute, and along a random one at right angles to it."""

    attribute: list[MovedShare]
    random: list[MovedShare]


@dataclass(frozen=True)
class MovedSentence:
    """What a sentence becomes."""

    shift: float
    sentence: str


@dataclass(frozen=True)
class Example:
    """A labelled sentence, moved along the direction."""

    input: str
    label: str
    moved: list[MovedSentence]


@dataclass(frozen=True, kw_only=True)
class Directions(Report):
    """The direction of the label `positive`, and what it is worth.

    Attributes:
        n_labelled: labelled sentences by split.
        majority: accuracy of always saying the more frequent class.
        direction: u (D,); `scale` is σ_u.
    """

    kind: ClassVar[str] = "directions"

    signature: str
    positive: str
    n_labelled: dict[str, int]
    n_held_out: int
    majority: float
    accuracy: list[AccuracyOfSize]
    direction: list[float]
    scale: float
    moved: MovedShares
    sentences: list[Example]

    def table(self) -> Group:
        """Accuracies by number of labels, shares of moved sentences, and some of these."""
        accuracy = new_table(f"accuracy on {self.n_held_out:,} held-out sentences", "labels", *_FEATURES.values())
        for row in self.accuracy:
            accuracy.add_row(f"{row.n:,}", str(row.probe), str(row.bag_of_words))
        title = f"share of moved sentences that a bag of words takes for {self.positive!r}, by standard deviations"
        moved = new_table(title, "", *(f"{row.shift:+.0f}" for row in self.moved.attribute))
        for name, rows in self._moves().items():
            moved.add_row(name, *(with_error(row.share_positive, row.standard_error, digits=2) for row in rows))
        examples = new_table("sentences moved along the direction", "shift", texts=["sentence"])
        for example in self.sentences:
            examples.add_row(example.label, example.input, style="bold")
            for each in example.moved:
                examples.add_row(f"{each.shift:+.0f}", each.sentence)
            examples.add_section()
        majority = f"the majority class has an accuracy of {self.majority:.3f}"
        return Group(accuracy, majority, moved, *([examples] if self.sentences else []))

    def figure(self) -> Figure:
        """Accuracy by number of labels, and the share of moved sentences taken for positive."""
        figure, (left, right) = panels(1, 2, ["accuracy on held-out sentences", "moved sentences taken for positive"])
        sizes = [row.n for row in self.accuracy]
        for key, label in _FEATURES.items():
            found: list[Accuracy] = [getattr(row, key) for row in self.accuracy]
            means, spreads = [each.mean for each in found], [each.spread or 0.0 for each in found]
            left.errorbar(sizes, means, yerr=spreads, fmt="o-", markersize=3, label=label)
        left.axhline(self.majority, color="C3", linewidth=0.8, label="majority")
        left.set_xscale("log")
        left.set_xlabel("labelled sentences")
        for label, rows in self._moves().items():
            shares, errors = [row.share_positive for row in rows], [row.standard_error for row in rows]
            right.errorbar([row.shift for row in rows], shares, yerr=errors, fmt="o-", markersize=3, label=label)
        right.set_xlabel("shift, standard deviations")
        for panel in (left, right):
            legend(panel)
        return figure

    def move(
        self, model: LatentEBM, sentence: str, shifts: Sequence[float] = _SHIFTS, *, seed: int = 1
    ) -> list[MovedSentence]:
        """What a sentence becomes, decoded greedily from z + s · σ_u u for each shift s; z is a posterior draw.

        Raises:
            InputError: as `LatentEBM.infer` does, or the direction is of another latent space.
        """
        if len(self.direction) != model.config.model.latent_dim:
            raise InputError(f"the direction has {len(self.direction)} dimensions, as the model's z does not")
        step = self.scale * torch.tensor(self.direction)
        z = model.infer([sentence], seed=seed) + torch.tensor(shifts).unsqueeze(1) * step
        return list(map(MovedSentence, shifts, model.decode(z)))

    def _moves(self) -> dict[str, list[MovedShare]]:
        return {"along the direction": self.moved.attribute, "along a random one": self.moved.random}


def compute(run: Run, settings: DirectionsSettings | None = None, on_progress: Progress = silent) -> Directions:
    """Learn the direction of an attribute, test it beside a bag of words, and move sentences along it.

    Raises:
        InputError: a language model, labels that are missing or do not fit, a class without a sentence, too few
            labelled sentences, or no scikit-learn.
    """
    settings = settings or DirectionsSettings()
    run.config.require_latent(run)
    need_sklearn("attribute directions")
    corpus, split, seed = run.corpus(), settings.split, settings.seed
    labelled = {name: labelled_split(corpus, name, settings.label_dir) for name in ("train", split)}
    positive = positive_label(labelled["train"], settings.positive)
    known, of_split = (sorted({row.label for row in labelled[name]}) for name in ("train", split))
    if (unknown := [label for label in of_split if label not in known]) and len(known) == 2:
        raise InputError(
            f"{corpus.name} {split} has labels that no training sentence has: {', '.join(unknown[:20])}; those of "
            f"train are: {', '.join(known)}"
        )
    model = run.model(device=settings.device)
    sizes = tuple(sorted(set(settings.sizes)))
    most = {"train": max(sizes, default=_SIZES[-1]), split: max(settings.held_out, settings.moved)}
    chosen = {name: _choose(model, rows, most[name], seed) for name, rows in labelled.items()}
    n_train = len(chosen["train"])
    if sizes and n_train < sizes[-1]:
        raise InputError(f"{corpus.name} train has {n_train:,} labelled sentences, fewer than the size {sizes[-1]:,}")
    for name, rows in chosen.items():
        if len({row.label == positive for row in rows}) < 2:
            raise InputError(f"the {len(rows):,} labelled sentences of {corpus.name} {name} are all of one class")
    sizes = sizes or tuple(size for size in _SIZES if size <= n_train) or (n_train,)
    truth = {name: np.array([row.label == positive for row in rows]) for name, rows in chosen.items()}
    texts = {name: [row.sentence for row in rows] for name, rows in chosen.items()}
    bag = bag_of_words(texts["train"])
    counts = {name: bag.transform(lines) for name, lines in texts.items()}
    tests = truth[split][: settings.held_out]
    share = float(tests.mean())

    def accuracies(learned: Features, tested: Features) -> list[Accuracy]:
        pair = (learned, truth["train"]), (tested[: len(tests)], tests)
        return accuracy_by_size(*pair, sizes, settings.repeats, seed=seed)

    of_words = accuracies(counts["train"], counts[split])
    told = ", ".join(f"{found} from {size:,}" for size, found in zip(sizes, of_words, strict=True))
    logger.info(f"accuracy of a bag of words {told} labels, of the majority class {max(share, 1 - share):.3f}")
    means = {
        name: kept_posterior_means(run, model, lines, n_draws=settings.draws, seed=seed, on_progress=on_progress)
        for name, lines in texts.items()
    }
    of_means = accuracies(means["train"].numpy(), means[split].numpy())
    told = ", ".join(f"{found} from {size:,}" for size, found in zip(sizes, of_means, strict=True))
    logger.info(f"accuracy of the probe {told} labels")
    probe = fit_probe(means["train"], truth["train"])
    steps = [probe.scale * step for step in (probe.direction, other_direction(probe.direction, seed=seed))]
    words = _regression().fit(counts["train"], truth["train"])

    def taken_for_positive(lines: list[str]) -> float:
        return float(words.predict(bag.transform(lines)).mean())

    moved, examples = _moved(model, steps, chosen[split][: settings.moved], taken_for_positive, settings)
    how = f"M={settings.draws},repeats={settings.repeats},n={len(tests)}"
    what = f"directions({how})|text:{corpus.name}-{split}|positive:{positive}"
    sha256 = {}
    for name in chosen:
        sha256[name] = corpus.splits[name].sha256
        sha256[f"{name}.label"] = sha256_file(label_path(corpus.splits[name].path, settings.label_dir))
    return Directions(
        positive=positive,
        n_labelled={name: len(rows) for name, rows in labelled.items()},
        n_held_out=len(tests),
        majority=max(share, 1 - share),
        accuracy=[AccuracyOfSize(*row) for row in zip(sizes, of_means, of_words, strict=True)],
        direction=probe.direction.tolist(),
        scale=probe.scale,
        moved=moved,
        sentences=examples,
        **origin(model, run, what, seed, sha256, ["scikit-learn"]),
    )


def _choose(model: LatentEBM, rows: list[Labelled], n: int, seed: int) -> list[Labelled]:
    """At most n that are not too long for the model, in an order of their own."""
    fitting = set(model.fitting({row.sentence for row in rows}))
    usable = [row for row in rows if row.sentence in fitting]
    return [usable[i] for i in shuffled(len(usable), seed)[:n]]


def _moved(
    model: LatentEBM,
    steps: Sequence[Tensor],
    rows: list[Labelled],
    taken_for_positive: Callable[[list[str]], float],
    settings: DirectionsSettings,
) -> tuple[MovedShares, list[Example]]:
    """Sentences decoded greedily from z + s · step, for two steps (D,): shares, and examples of the first."""
    z = model.infer([row.sentence for row in rows], seed=settings.seed)
    texts = [[model.decode(z + shift * step) for shift in _SHIFTS] for step in steps]
    shares = []
    for moved in texts:
        found = zip(_SHIFTS, map(taken_for_positive, moved), strict=True)
        shares.append([MovedShare(shift, share, _error(share, len(rows))) for shift, share in found])
    examples = [
        Example(row.sentence, row.label, list(map(MovedSentence, _SHIFTS, column)))
        for row, column in zip(rows[: settings.shown], zip(*texts[0], strict=True), strict=False)
    ]
    return MovedShares(*shares), examples


class Probe(NamedTuple):
    """Unit direction u (D,) towards positive sentences, and σ_u."""

    direction: Tensor
    scale: float


def bag_of_words(train: Sequence[str]) -> Any:
    """What `transform`s sentences to counts of the words of the training ones, a sparse matrix.

    The penalty keeps the weight of a word at 0 that a subset lacks, so that one vocabulary serves all subsets.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(lowercase=False, analyzer=split_words).fit(train)


def accuracy_by_size(
    train: tuple[Features, Labels], held_out: tuple[Features, Labels], sizes: Sequence[int], n_draws: int, *, seed: int
) -> list[Accuracy]:
    """Accuracy of probes learned from n sentences, for each n of `sizes`.

    The sentences of draw i depend on (seed, n, i), so that different features are compared on the same ones. A size
    that is all of `train` has one draw. Both classes occur in every draw; `train` must hold both.
    """
    (features, labels), (tests, truth) = train, held_out
    found = []
    for n in sizes:
        draws = []
        for draw in range(n_draws if n < len(labels) else 1):
            rows = _both_classes(labels, n, np.random.Generator(np.random.PCG64([seed, n, draw])))
            draws.append(float(_regression().fit(features[rows], labels[rows]).score(tests, truth)))
        mean, spread = float(np.mean(draws)), float(np.std(draws, ddof=1)) if len(draws) > 1 else None
        found.append(Accuracy(mean, spread, _error(mean, len(truth)), draws))
    return found


def fit_probe(means: Tensor, labels: Labels) -> Probe:
    """From posterior means (n, D)."""
    weight = torch.from_numpy(_regression().fit(means.numpy(), labels).coef_[0]).float()
    direction = F.normalize(weight, dim=0)
    return Probe(direction, float((means @ direction).std()))


def other_direction(direction: Tensor, *, seed: int) -> Tensor:
    """A random unit vector at right angles to `direction` (D,): what a move of that length does by itself."""
    drawn = torch.randn(len(direction), generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn - (drawn @ direction) * direction, dim=0)


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _both_classes(labels: Labels, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n rows; where chance gave one class alone, the last gives way to the first of the other."""
    order = rng.permutation(len(labels))
    rows = order[:n]
    if len(np.unique(labels[rows])) == 1:
        rows[-1] = order[labels[order] != labels[rows[0]]][0]
    return rows


def _error(share: float, n: int) -> float:
    """Of a share of n independent sentences."""
    return math.sqrt(share * (1 - share) / n)
