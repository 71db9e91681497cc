r"""Report on the latent direction of an attribute, found by a linear probe of labelled sentences.

    P(positive | x) = σ(w·z̄(x) + b),  direction u = w/‖w‖,  moved sentence: decode(z + s·σ_u u)

z̄ is the posterior mean, σ_u the standard deviation of z̄·u over sentences. The probe is scikit-learn's logistic
regression with its default penalty (Alain and Bengio, 2017, for probes). The baseline is the same regression on
bag-of-words features, trained on the same labels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from rich.console import Group

from lebm_text.checks import MAX_DRAWS, each_of, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus
from lebm_text.text.labels import Labelled, label_path, labelled_split, positive_label
from lebm_text.torch_state import own_state

from .base import Report, Settings, need_sklearn, new_table, origin, settled, with_error
from .drawing import legend, panels
from .posterior import kept_posterior_means, shuffled
from .probes import (
    Accuracy,
    Features,
    Probe,
    accuracy_by_size,
    bag_of_words,
    fit_probe,
    other_direction,
    regression,
    standard_error,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Directions", "DirectionsSettings", "compute"]

logger = logging.getLogger(__name__)

_SIZES = (10, 100, 1000)
_SHIFTS = (-4.0, -2.0, 0.0, 2.0, 4.0)
_FEATURES = {"probe": "probe of posterior means", "bag_of_words": "bag of words"}


@dataclass(frozen=True)
class DirectionsSettings(Settings):
    """How a direction is learned and tested.

    Attributes:
        label_dir: directory of the label files; None: that of the text.
        positive: the label of the attribute; None: the later of two labels.
        split: the split of the run's corpus to test on: valid or test.
        sizes: numbers of labelled training sentences; empty: 10, 100, 1000, as far as there are enough.
        repeats: random training sets of each size.
        held_out: number of test sentences.
        moved: number of sentences to move.
        shown: number of moved sentences that are kept as examples.
        draws: M, posterior draws per sentence.
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
class AccuracyOfSize:
    """Accuracy of the probe and of the baseline, trained on n labelled sentences."""

    n: int
    probe: Accuracy
    bag_of_words: Accuracy


@dataclass(frozen=True)
class MovedShare:
    """Share of sentences that a bag-of-words classifier labels positive after a move by `shift` σ_u."""

    shift: float
    share_positive: float
    standard_error: float


@dataclass(frozen=True)
class MovedShares:
    """Results of moves along the direction of the attribute, and along a random direction orthogonal to it."""

    attribute: list[MovedShare]
    random: list[MovedShare]


@dataclass(frozen=True)
class MovedSentence:
    """The sentence decoded after a move by `shift` σ_u."""

    shift: float
    sentence: str


@dataclass(frozen=True)
class Example:
    """A labelled sentence, and the sentences decoded after moves along the direction."""

    input: str
    label: str
    moved: list[MovedSentence]


@dataclass(frozen=True, kw_only=True)
class Directions(Report):
    """The latent direction of an attribute, and how well it works.

    Attributes:
        majority: accuracy of always predicting the more frequent class.
        direction: u (D,).
        scale: σ_u.
        sentences: examples of moved sentences.
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
        """Return tables of accuracies by number of labels, of the shares of moved sentences, and of examples."""
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
        """Return a picture of accuracy by number of labels, and of the share of moved sentences labelled positive."""
        figure, (left, right) = panels(["accuracy on held-out sentences", "moved sentences taken for positive"])
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
        """Return the sentences decoded greedily from z + s · σ_u u for each shift s; z is a draw from p(z|sentence).

        Raises:
            InputError: as raised by `LatentEBM.infer`, or the model has another latent dimension.
        """
        if len(self.direction) != model.config.model.latent_dim:
            raise InputError(f"the direction has {len(self.direction)} dimensions, as the model's z does not")
        step = self.scale * torch.tensor(self.direction)
        z = model.infer([sentence], seed=seed) + torch.tensor(shifts).unsqueeze(1) * step
        return list(map(MovedSentence, shifts, model.decode(z)))

    def _moves(self) -> dict[str, list[MovedShare]]:
        return {"along the direction": self.moved.attribute, "along a random one": self.moved.random}


@own_state(grad=True)
def compute(run: Run, settings: DirectionsSettings | None = None, on_progress: Progress = silent) -> Directions:
    """Learn the direction of an attribute, compare it with a bag-of-words classifier, and move sentences along it.

    Raises:
        InputError: the run is a language model, labels are missing or inconsistent, a class has no sentences, there
            are too few labelled sentences, or scikit-learn is missing.
    """
    settings = settled(settings, DirectionsSettings, run)
    run.config.require_latent(run)
    need_sklearn("attribute directions")
    corpus, split, seed = run.corpus(), settings.split, settings.seed
    labelled = {name: labelled_split(corpus, name, settings.label_dir) for name in ("train", split)}
    positive = positive_label(labelled["train"], settings.positive)
    _check_labels(corpus, labelled, split)
    model = run.model(device=settings.device)
    chosen, sizes = _choose(model, corpus, labelled, positive, settings)
    truth = {name: np.array([row.label == positive for row in rows]) for name, rows in chosen.items()}
    texts = {name: [row.sentence for row in rows] for name, rows in chosen.items()}
    tests = truth[split][: settings.held_out]
    share = float(tests.mean())

    def accuracies(learned: Features, tested: Features) -> list[Accuracy]:
        pair = (learned, truth["train"]), (tested[: len(tests)], tests)
        return accuracy_by_size(*pair, sizes, settings.repeats, seed=seed)

    def listed(found: list[Accuracy]) -> str:
        return ", ".join(f"{each} from {size:,}" for size, each in zip(sizes, found, strict=True))

    bag = bag_of_words(texts["train"])
    counts = {name: bag.transform(lines) for name, lines in texts.items()}
    of_words = accuracies(counts["train"], counts[split])
    majority = max(share, 1 - share)
    logger.info(f"accuracy of a bag of words {listed(of_words)} labels, of the majority class {majority:.3f}")
    means = {
        name: kept_posterior_means(run, model, lines, n_draws=settings.draws, seed=seed, on_progress=on_progress)
        for name, lines in texts.items()
    }
    of_means = accuracies(means["train"].numpy(), means[split].numpy())
    logger.info(f"accuracy of the probe {listed(of_means)} labels")
    probe, words = fit_probe(means["train"], truth["train"]), regression().fit(counts["train"], truth["train"])

    def share_positive(lines: list[str]) -> float:
        return float(words.predict(bag.transform(lines)).mean())

    to_move = chosen[split][: settings.moved]
    moved, examples = _moved(model, probe, to_move, share_positive, settings)
    how = f"M={settings.draws},repeats={settings.repeats},n={len(tests)},moved={len(to_move)}"
    what = f"directions({how})|text:{corpus.name}-{split}|positive:{positive}"
    return Directions(
        positive=positive,
        n_labelled={name: len(rows) for name, rows in labelled.items()},
        n_held_out=len(tests),
        majority=majority,
        accuracy=[AccuracyOfSize(*row) for row in zip(sizes, of_means, of_words, strict=True)],
        direction=probe.direction.tolist(),
        scale=probe.scale,
        moved=moved,
        sentences=examples,
        **origin(model, run, what, seed, _sha256(corpus, chosen, settings), ["scikit-learn"]),
    )


def _check_labels(corpus: Corpus, labelled: Mapping[str, list[Labelled]], split: str) -> None:
    """Raise InputError if the tested split has labels besides the two of the training text."""
    known, of_split = (sorted({row.label for row in labelled[name]}) for name in ("train", split))
    if (unknown := [label for label in of_split if label not in known]) and len(known) == 2:
        raise InputError(
            f"{corpus.name} {split} has labels that no training sentence has: {', '.join(unknown[:20])}; those of "
            f"train are: {', '.join(known)}"
        )


def _choose(
    model: LatentEBM,
    corpus: Corpus,
    labelled: Mapping[str, list[Labelled]],
    positive: str,
    settings: DirectionsSettings,
) -> tuple[dict[str, list[Labelled]], tuple[int, ...]]:
    """Return the sentences to learn from and to test on, and the sizes of training sets.

    Sentences are in random order; those that are too long for the model are left out.

    Raises:
        InputError: there are too few, or those of a split are all of one class.
    """
    sizes = tuple(sorted(set(settings.sizes)))
    most = {"train": max(sizes, default=_SIZES[-1]), settings.split: max(settings.held_out, settings.moved)}
    chosen = {}
    for name, rows in labelled.items():
        fitting = set(model.fitting(list(dict.fromkeys(row.sentence for row in rows))))
        usable = [row for row in rows if row.sentence in fitting]
        chosen[name] = shuffled(usable, settings.seed)[: most[name]]
    n_train = len(chosen["train"])
    if sizes and n_train < sizes[-1]:
        raise InputError(f"{corpus.name} train has {n_train:,} labelled sentences, fewer than the size {sizes[-1]:,}")
    for name, rows in chosen.items():
        if not rows:
            n = len(labelled[name])
            raise InputError(f"none of the {n:,} labelled sentences of {corpus.name} {name} fits the model")
        if len({row.label == positive for row in rows}) < 2:
            raise InputError(
                f"{len(rows):,} of the {len(labelled[name]):,} labelled sentences of {corpus.name} {name}, drawn from "
                "those that fit the model, are all of one class; take more, or another seed"
            )
    return chosen, sizes or tuple(size for size in _SIZES if size <= n_train) or (n_train,)


def _sha256(corpus: Corpus, splits: Iterable[str], settings: DirectionsSettings) -> dict[str, str]:
    """Return the hashes of the splits and of their labels."""
    found = {}
    for name in splits:
        text = corpus.splits[name]
        found[name] = text.sha256
        found[f"{name}.label"] = sha256_file(label_path(text.path, settings.label_dir))
    return found


def _moved(
    model: LatentEBM,
    probe: Probe,
    rows: list[Labelled],
    share_positive: Callable[[list[str]], float],
    settings: DirectionsSettings,
) -> tuple[MovedShares, list[Example]]:
    """Move sentences along the probe and along a random direction; return the shares, and examples of the former."""
    directions = probe.direction, other_direction(probe.direction, seed=settings.seed)
    steps = [probe.scale * direction for direction in directions]
    z = model.quiet().infer([row.sentence for row in rows], seed=settings.seed)
    texts = [[model.decode(z + shift * step) for shift in _SHIFTS] for step in steps]
    shares = []
    for moved in texts:
        found = zip(_SHIFTS, map(share_positive, moved), strict=True)
        shares.append([MovedShare(shift, share, standard_error(share, len(rows))) for shift, share in found])
    examples = [
        Example(row.sentence, row.label, list(map(MovedSentence, _SHIFTS, column)))
        for row, column in zip(rows[: settings.shown], zip(*texts[0], strict=True), strict=False)
    ]
    return MovedShares(*shares), examples
