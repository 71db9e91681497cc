"""Areas under curves where they are known, their intervals, and differences on the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lebm_text.errors import InputError
from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.plugins import trusting
from lebm_text.progress import silent
from lebm_text.reports import anomaly_systems
from lebm_text.reports.anomaly import compute
from lebm_text.reports.anomaly_systems import Resampled, difference, score_run
from lebm_text.reports.anomaly_texts import AnomalySettings
from lebm_text.reports.scores import SentenceScore
from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus

from ..tiny import tiny_model

pytest.importorskip("sklearn")

RNG = np.random.Generator(np.random.PCG64(0))
LOW, HIGH = RNG.normal(size=60), RNG.normal(size=40) + 20


def test_a_perfect_a_reversed_and_a_constant_score() -> None:
    resampled = Resampled(60, 40, n_resamples=30)
    perfect = resampled.areas(LOW, HIGH)
    assert (perfect.auroc.value, *perfect.auroc.ci95, perfect.auprc.value) == pytest.approx((1, 1, 1, 1))
    reversed_ = resampled.areas(-LOW, -HIGH)
    assert (reversed_.auroc.value, *reversed_.auroc.ci95) == pytest.approx((0, 0, 0))
    assert reversed_.auprc.value < resampled.share == 0.4
    constant = resampled.areas(np.zeros(60), np.zeros(40))
    assert (constant.auroc.value, constant.auprc.value) == pytest.approx((0.5, 0.4))


def test_a_random_score_is_chance_and_its_interval_says_so() -> None:
    resampled = Resampled(400, 400, n_resamples=200)
    found = resampled.areas(RNG.normal(size=400), RNG.normal(size=400)).auroc
    error = np.sqrt(801 / (12 * 400 * 400))  # of the Mann-Whitney statistic over n m
    assert abs(found.value - 0.5) < 4 * error
    assert found.ci95[0] < found.value < found.ci95[1]
    assert (found.ci95[1] - found.ci95[0]) / (2 * 1.96 * error) == pytest.approx(1, abs=0.25)


def test_the_area_is_the_share_of_ordered_pairs() -> None:
    normal, anomalous = RNG.normal(size=30), RNG.normal(size=20) + 1
    normal[0] = anomalous[0]
    pairs = anomalous[:, None] - normal
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert Resampled(30, 20, n_resamples=2).areas(normal, anomalous).auroc.value == pytest.approx(expected)


def test_resamples_have_the_areas_that_the_library_gives() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    resampled = Resampled(30, 20, n_resamples=5)
    normal, anomalous = RNG.normal(size=30).round(1), (RNG.normal(size=20) + 0.5).round(1)  # with ties
    found = resampled.areas(normal, anomalous)
    values = np.concatenate([normal, anomalous])
    for draw, counts in enumerate(resampled._counts):
        rows = np.repeat(np.arange(50), counts)
        assert sorted(np.bincount(resampled.labels[rows])) == [20, 30]
        for area, function in ((found.auroc, roc_auc_score), (found.auprc, average_precision_score)):
            assert area.draws[draw] == pytest.approx(function(resampled.labels[rows], values[rows]))


def test_differences_are_paired() -> None:
    resampled = Resampled(60, 40, n_resamples=100)
    normal, anomalous = RNG.normal(size=60), RNG.normal(size=40) + 1
    one = resampled.areas(normal, anomalous).auroc
    assert difference(one, resampled.areas(2 * normal, 2 * anomalous).auroc) == (0.0, (0.0, 0.0))
    perfect = resampled.areas(LOW, HIGH).auroc
    value, ci95 = difference(perfect, one)
    assert value == 1.0 - one.value
    assert ci95[0] > 0


def test_spoilt_sentences_are_resampled_with_their_originals() -> None:
    """A score that rises by the same amount for each: with pairs its area varies less than without."""
    scores = RNG.normal(size=200)
    widths = []
    for paired in (True, False):
        low, high = Resampled(200, 200, n_resamples=300, paired=paired).areas(scores, scores + 0.5).auroc.ci95
        widths.append(high - low)
    assert widths[0] < 0.6 * widths[1]


def test_refuses_scores_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        Resampled(60, 40, n_resamples=2).areas(LOW, np.full(40, np.nan))


def test_curves_are_kept_with_their_ends() -> None:
    """A thinned ROC curve has nearly the area of the whole."""
    resampled = Resampled(400, 300, n_resamples=2)
    normal, anomalous = RNG.normal(size=400), RNG.normal(size=300) + 1
    curves = resampled.curves(normal, anomalous)
    roc = np.array(curves.roc)
    assert roc[0].tolist() == [0, 0]
    assert roc[-1].tolist() == [1, 1]
    assert len(roc) <= 200
    area = np.diff(roc[:, 0]) @ (roc[1:, 1] + roc[:-1, 1]) / 2
    assert area == pytest.approx(resampled.areas(normal, anomalous).auroc.value, abs=0.01)
    first, last = curves.precision_over_recall[0], curves.precision_over_recall[-1]
    assert (first[0], last) == (1.0, (0.0, 1.0))


@pytest.mark.parametrize(("latent_dim", "elbo"), [(3, None), (3, -4.5), (0, None)])
def test_every_score_of_a_run_is_its_definition(
    latent_dim: int, elbo: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """High is anomalous; the sentences of all texts are numbered on, so that none shares its noise with another."""
    asked: list[int] = []

    def scorer(sentences: Sequence[str], first: int) -> list[SentenceScore]:
        numbers = range(first, first + len(sentences))
        asked.extend(numbers)
        return [SentenceScore(len(s), 0, -float(i), -0.5, elbo) for s, i in zip(sentences, numbers, strict=True)]

    monkeypatch.setattr(anomaly_systems, "_kept_scorer", lambda *_: scorer)
    run: Any = SimpleNamespace(config=SimpleNamespace(model=SimpleNamespace(latent_dim=latent_dim, prior="ebm")))
    texts = {"normal": ["a"] * 70, "swap": ["bb"] * 3, "file": ["ccc"]}
    found = score_run(run, "ours", texts, AnomalySettings(), silent)
    assert asked == list(range(74))
    numbers = {"normal": np.arange(70.0), "swap": np.arange(70.0, 73.0), "file": np.array([73.0])}
    if latent_dim == 0:
        expected = {"-log p(x)": numbers}
    else:
        expected = {"-log p(x,z)": {text: i + 0.5 for text, i in numbers.items()}, "-log p(x|z)": numbers}
        expected["-log p(z)"] = {text: np.full(len(i), 0.5) for text, i in numbers.items()}
    if elbo is not None:
        expected = {"-ELBO": {text: np.full(len(i), 4.5) for text, i in numbers.items()}, **expected}
    assert list(found.values) == list(expected)
    for name, by_text in expected.items():
        for text, values in by_text.items():
            np.testing.assert_allclose(found.values[name][text], values)
    assert (found.main, found.is_model) == (next(iter(expected)), True)
    assert found.lengths is not None
    assert {text: set(values) for text, values in found.lengths.items()} == {
        "normal": {1.0},
        "swap": {2.0},
        "file": {3.0},
    }


class Plugged(ShortRun):
    """A class of inference with a chain of its own."""

    def __init__(self) -> None:
        super().__init__(n_steps=2, step_size=0.3, noise_scale=1.0)

    @property
    def chain(self) -> LangevinChain:
        return LangevinChain(self.n_steps, self.step_size, self.noise_scale)


@pytest.mark.parametrize(("kind", "steps"), [("short_run", True), (f"{__name__}:Plugged", True), ("amortized", False)])
def test_steps_are_of_the_runs_with_a_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, steps: bool
) -> None:
    """Also if a plug-in has it: its scores were those of its own number of steps, whatever the report said."""
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    with trusting():
        tiny_model(kind=kind).save_pretrained(tmp_path / "run")
    run = Run(tmp_path / "run", trust_plugins=True)
    texts = {"normal": ["the cat", "a dog"], "swap": ["cat the"]}
    own, more = (
        score_run(run, "ours", texts, AnomalySettings(n_steps=n), silent).values["-log p(z)"] for n in (None, 30)
    )
    assert (own["swap"][0] != more["swap"][0]) == steps
    if not steps:
        corpus = find_corpus(str(Path(__file__).parents[2] / "data" / "tiny-corpus"))
        with pytest.raises(InputError, match="no run that takes part has one"):
            compute(corpus, [run], AnomalySettings(swaps=(0.5,), n_steps=30))
