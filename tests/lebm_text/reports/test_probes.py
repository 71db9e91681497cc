"""Probes: a known direction is found, accuracy grows with labels, draws hold both classes."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch

from lebm_text.reports.probes import accuracy_by_size, bag_of_words, fit_probe, other_direction

pytest.importorskip("sklearn")

TRUTH = torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0]) / 5
Z = torch.randn(1200, 5, generator=torch.Generator().manual_seed(1))
NOISE = 0.3 * torch.randn(1200, generator=torch.Generator().manual_seed(2))
LABELS = (Z @ TRUTH + NOISE > 0.2).numpy()


def test_the_direction_is_found() -> None:
    probe = fit_probe(Z, LABELS)
    assert float(probe.direction @ TRUTH) > 0.98
    assert float(probe.direction.norm()) == pytest.approx(1)
    assert probe.scale == pytest.approx(1, abs=0.1)
    other = other_direction(probe.direction, seed=1)
    assert float(other @ probe.direction) == pytest.approx(0, abs=1e-6)
    assert float(other.norm()) == pytest.approx(1)


def test_accuracy_grows_with_labels() -> None:
    train, test = (Z[:1000].numpy(), LABELS[:1000]), (Z[1000:].numpy(), LABELS[1000:])
    few, many, everything = accuracy_by_size(train, test, [4, 200, 1000], 8, seed=1)
    assert few.mean < many.mean - 0.05
    assert few.spread is not None and many.spread is not None and few.spread > many.spread
    assert len(everything.draws) == 1
    assert everything.spread is None
    assert everything.mean > 0.85
    assert (few.mean, few.spread) == pytest.approx((statistics.fmean(few.draws), statistics.stdev(few.draws)))
    assert few.standard_error == pytest.approx(math.sqrt(few.mean * (1 - few.mean) / 200))


def test_draws_depend_on_the_seed_and_on_nothing_else() -> None:
    train, test = (Z[:1000].numpy(), LABELS[:1000]), (Z[1000:].numpy(), LABELS[1000:])
    alone, other = (accuracy_by_size(train, test, [20], 4, seed=seed)[0] for seed in (1, 2))
    assert accuracy_by_size(train, test, [10, 20], 4, seed=1)[1] == alone != other


def test_a_rare_class_is_in_every_draw() -> None:
    rare = np.arange(1000) == 77
    (scores,) = accuracy_by_size((Z[:1000].numpy(), rare), (Z[1000:].numpy(), LABELS[1000:]), [2], 5, seed=1)
    assert len(scores.draws) == 5  # a single class cannot be fitted


def test_words_are_counted_as_they_stand() -> None:
    bag = bag_of_words(["good food .", "bad food .", "good !", "so bad"] * 5)
    assert bag.transform(["good"] * 20).shape == (20, 6)
    assert bag.transform(["Good good ."]).toarray().sum() == 2  # "Good" is another word
