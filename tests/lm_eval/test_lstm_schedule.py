"""The schedule of the LSTM judge: when its learning rate falls, when the best epoch returns, and which is the last."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from lm_eval import lstm_training
from lm_eval.lstm_training import update

from .test_lstm_training import TINY, train

Weights = dict[str, torch.Tensor]


def _equal(one: Weights, two: Weights) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def test_rates_fall_and_the_best_epoch_returns_as_the_recipe_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain of 5 % is demanded, that is 0.0513 nats a token; two decays are allowed, and the third is the end."""
    values = iter([3.0, 2.0, 1.95, 1.5, 1.6, 1.55])  # the first is that of the unigrams
    rates: list[float] = []
    before: list[Weights] = []
    after: list[Weights] = []
    passed = lstm_training._Training._pass_over_text

    def watched(training: lstm_training._Training) -> float:
        rates.append(training._optimizer.param_groups[0]["lr"])
        before.append(training._parameters())
        nll = passed(training)
        after.append(training._parameters())
        return nll

    monkeypatch.setattr(lstm_training._Training, "_valid_nll", lambda _: next(values))
    monkeypatch.setattr(lstm_training._Training, "_pass_over_text", watched)
    recipe = replace(TINY, learning_rate=0.02, min_gain=0.05, decay=0.25, n_decays=2, max_epochs=20)
    judge = train(recipe=recipe)
    assert rates == pytest.approx([0.02, 0.02, 0.005, 0.005, 0.00125])
    assert (judge.report.n_epochs, judge.report.best_epoch) == (5, 3)
    assert judge.report.valid_ppl == pytest.approx(math.exp(1.5))
    # An epoch goes on from the one before, but for the fifth, since the fourth was worse than the third.
    assert [_equal(before[i + 1], after[i]) for i in range(4)] == [True, True, True, False]
    assert _equal(before[4], after[2])
    assert _equal(dict(judge.network.state_dict()), after[2])


@pytest.mark.parametrize(("min_updates", "n_passes"), [(1, 1), (4, 2), (5, 3)])
def test_a_short_text_is_repeated_until_an_epoch_has_its_updates(
    min_updates: int, n_passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_updates = 0

    def counted(*given: Any, **options: Any) -> torch.Tensor:
        nonlocal n_updates
        n_updates += 1
        return update(*given, **options)

    monkeypatch.setattr(lstm_training, "update", counted)
    recipe = replace(TINY, batch_tokens=10_000, batch_size=30, min_updates=min_updates, max_epochs=3)
    train(recipe=replace(recipe, early_stopping=False))
    assert n_updates == 3 * n_passes * 2  # 60 sentences are two batches of 30
