"""Distances between clouds of embeddings: closed forms, orders that must hold, and what is refused."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest

from lebm_text.errors import InputError
from lebm_text.text.corpora import find_corpus
from lm_eval.embedding import EmbeddingScore, MeaningJudge, _mauve, _Reference, fed, frechet_distance
from lm_eval.encoders import Embeddings
from lm_eval.texts import calibration_texts

from .test_encoders import Lengths


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.embedding._mauve", lambda *_: None)  # the package takes seconds to import
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path))


class Table:
    """An encoder of sentences `r i` and `s i`, the rows of two tables."""

    def __init__(self, real: npt.ArrayLike, samples: npt.ArrayLike) -> None:
        self.rows = {"r": np.asarray(real, np.float32), "s": np.asarray(samples, np.float32)}
        self.name = "table@" + "".join(format(crc32(rows.tobytes()), "x") for rows in self.rows.values())

    def encode(self, sentences: Sequence[str]) -> Embeddings:
        found: Embeddings = np.stack([self.rows[sentence[0]][int(sentence[2:])] for sentence in sentences])
        return found


def measured(real: npt.ArrayLike, samples: npt.ArrayLike, k: Any = 5, **more: Any) -> EmbeddingScore:
    """What `fed` says of sentences with these embeddings."""
    table = Table(real, samples)
    r, s = ([f"{name} {i}" for i in range(len(rows))] for name, rows in table.rows.items())
    return fed(s, r, table, k=k, **more)


def gaussian(mean: Sequence[float], covariance: npt.ArrayLike, n: int = 400) -> npt.NDArray[np.float64]:
    """Vectors whose mean and covariance are exactly these."""
    rows = np.random.default_rng(1).normal(size=(n, len(mean)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return np.asarray(rows @ np.linalg.cholesky(np.asarray(covariance)).T + mean)


def test_distance_of_gaussians_in_closed_form() -> None:
    """Along axes: |μ|² + Σ (σ − τ)²; for any two matrices the trace of the root is the sum of √eig(Σ₁Σ₂)."""
    along = frechet_distance(gaussian((0, 0), ((4, 0), (0, 9))), gaussian((1, 2), ((1, 0), (0, 1))))
    assert along == pytest.approx(1 + 4 + 1 + 4)
    first, second = np.array(((2.0, 0.7), (0.7, 1.0))), np.array(((1.0, -0.4), (-0.4, 3.0)))
    crossed = np.sqrt(np.linalg.eigvals(first @ second)).sum()
    wanted = np.trace(first + second) - 2 * crossed
    assert frechet_distance(gaussian((0, 0), first), gaussian((0, 0), second)) == pytest.approx(wanted)
    assert frechet_distance(gaussian((0, 0), first), gaussian((0, 0), first)) == pytest.approx(0, abs=1e-9)


def test_neighbourhoods_by_hand() -> None:
    """With k = 1 the balls of 0, 1 and 10 reach 1, 1 and 9 far, those of 0.5, 0.7 and 30 reach 0.2, 0.2 and 29.3."""
    found = measured([[0.0], [1.0], [10.0]], [[0.5], [0.7], [30.0]], k=1)
    assert found.precision == pytest.approx(2 / 3)  # 30 lies in no real ball
    assert found.recall == pytest.approx(2 / 3)  # of 30's ball, 1 and 10
    assert found.density == pytest.approx(4 / 3)  # 0.5 and 0.7 lie in those of 0 and of 1
    assert found.coverage == pytest.approx(2 / 3)  # the ball of 10 holds no sample


def test_the_same_text_has_all_and_the_distance_falls_with_n() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(size=(600, 6))
    same = measured(real, real)
    assert (same.precision, same.recall, same.coverage) == (1.0, 1.0, 1.0)
    assert same.frechet == pytest.approx(0, abs=1e-6)
    floors = [measured(rng.normal(size=(n, 6)), rng.normal(size=(n, 6))).frechet for n in (100, 600)]
    assert 0 < floors[1] < floors[0] / 2


def test_collapsed_and_noisy_samples_are_told_apart() -> None:
    """Samples of one half of the real text are precise and cover little; scattered ones the other way round."""
    rng = np.random.default_rng(3)
    real = rng.normal(size=(500, 3)) + 8 * (np.arange(500) % 2)[:, None]
    half = measured(real, rng.normal(size=(500, 3)))
    scattered = measured(real, rng.normal(size=(500, 3)) * 8 + 4)
    assert half.precision > 0.9 > 0.6 > half.recall
    assert half.coverage < 0.6
    assert scattered.precision < 0.3 < 0.9 < scattered.recall


def test_distances_are_in_thousandths_and_intervals_those_of_a_jackknife() -> None:
    """Each of 20 groups of samples is left out once: ± 2.093 √(19/20 Σ (v − v̄)²)."""
    rng = np.random.default_rng(5)
    real, samples = (rows.astype(np.float32) for rows in (rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 0.5))

    def distances(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(np.linalg.norm(a[:, None].astype(float) - b, axis=-1))

    def figures(kept: npt.NDArray[np.float32]) -> dict[str, float]:
        """Return the figures as `Neighbourhoods` defines them."""
        in_real, in_samples = (
            distances(real, kept) <= np.sort(distances(cloud, cloud))[:, 5].reshape(shape)
            for cloud, shape in ((real, (-1, 1)), (kept, (1, -1)))
        )
        shares = {"precision": in_real.any(0), "recall": in_samples.any(1), "coverage": in_real.any(1)}
        found = {name: float(share.mean()) for name, share in shares.items()}
        return {"frechet": 1000 * frechet_distance(real, kept), "density": in_real.sum(0).mean() / 5, **found}

    found, rest = measured(real, samples), [figures(samples[np.arange(60) % 20 != i]) for i in range(20)]
    assert set(found.ci95) == set(rest[0])
    for name, value in figures(samples).items():
        values = [each[name] for each in rest]
        half = 2.093 * math.sqrt(19 / 20 * sum((each - sum(values) / 20) ** 2 for each in values))
        assert getattr(found, name) == pytest.approx(value)
        assert found.ci95[name] == pytest.approx((value - half, value + half))


@pytest.mark.slow
def test_intervals_have_the_width_of_repeated_samples() -> None:
    """Over 60 draws of samples the mean half width is 2.093 standard deviations, within 35 %."""
    rng = np.random.default_rng(4)
    real = rng.normal(size=(200, 4))
    scores = [measured(real, 1.2 * rng.normal(size=(200, 4)) + 0.3) for _ in range(60)]
    for name in ("frechet", "precision", "density"):
        spread = np.std([getattr(score, name) for score in scores], ddof=1)
        width = np.mean([score.ci95[name][1] - score.ci95[name][0] for score in scores]) / 2
        assert width / 2.093 == pytest.approx(spread, rel=0.35), name


@pytest.mark.parametrize(
    ("real", "samples", "k", "said"),
    [
        (np.zeros((5, 8)), np.zeros((50, 8)), 3, "real text: 5 sentences are too few"),
        (np.ones((50, 8)), np.ones((8, 8)), 3, "samples: 8 sentences are too few"),
        (np.ones((50, 8)), np.ones((50, 7)), 3, "dimensions"),
        (np.ones((50, 8)), np.full((50, 8), np.nan), 3, "finite"),
        (np.ones((50, 8)), np.ones((50, 8)), 50, "hundreds"),
        (np.ones((50, 8)), np.ones((50, 8)), 47, "many more than k = 47, got 50"),  # 47 are left without 3
        (np.ones((50, 8)), np.ones((50, 8)), 0, "k must be"),
        (np.ones((50, 8)), np.ones((50, 8)), 2.5, "k must be a whole number, got 2.5"),
        (np.ones(50), np.ones(50), 3, r"must give \(50, d\) numbers, one row a sentence, got \(50,\)"),
    ],
)
def test_refused(real: npt.ArrayLike, samples: npt.ArrayLike, k: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        measured(real, samples, k)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n must be >= 1, got 0"),
        ({"n": 50.5}, "n must be a whole number, got 50.5"),
        ({"n": None}, "n must be a whole number, got None"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"seed": "a"}, "seed must be a whole number, got 'a'"),
    ],
)
def test_numbers_are_checked_before_anything_is_embedded(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        measured(np.ones((50, 8)), np.ones((50, 8)), **given)


def test_of_fewer_sentences_than_groups_each_is_left_out_once() -> None:
    real, samples = np.random.default_rng(7).normal(size=(2, 8, 2)).astype(np.float32)
    found = measured(real, samples, 2)
    values = [1000 * frechet_distance(real, np.delete(samples, i, axis=0)) for i in range(8)]
    half = 2.365 * math.sqrt(7 / 8 * sum((value - sum(values) / 8) ** 2 for value in values))
    assert found.ci95["frechet"] == pytest.approx((found.frechet - half, found.frechet + half))


def test_mauve_takes_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clustering refuses those of more than 32 bits, after minutes of embedding."""
    package = SimpleNamespace(compute_mauve=lambda seed, **_: SimpleNamespace(mauve=seed))
    monkeypatch.setitem(sys.modules, "mauve", package)
    rows = np.ones((50, 2), np.float32)
    seeds = [_mauve(rows, rows, seed) or 0 for seed in (3, 1 << 31, 2**63 - 1)]
    assert seeds[0] == 3 and max(seeds) + 5 < 1 << 31


def test_one_sentence_more_than_dimensions_is_enough() -> None:
    rows = np.random.default_rng(6).normal(size=(9, 8))
    assert measured(rows, rows, 2).frechet == pytest.approx(0, abs=1e-6)


def test_texts_are_drawn_and_embedded_once(tmp_path: Path) -> None:
    encoder, heard = Lengths(), list[int]()
    real = [f"{'a ' * (i % 7)}{'b' * (i % 11)} {i}" for i in range(300)]
    samples = [f"{'a ' * (i % 5)}{'b' * (i % 13)} {i}" for i in range(200)]
    score = fed(samples, real, encoder, n=250, names=("samples(n=200)", "toy-test"), on_done=heard.append)
    assert (score.n, encoder.n_encoded, heard[-1]) == (200, 400, 400)
    assert score.signature == "FED|enc:lengths@1|test:toy-test|samples:samples(n=200)|n:200|k:5|seed:1"
    assert fed(samples, real, encoder, n=250, names=("samples(n=200)", "toy-test")) == score
    assert encoder.n_encoded == 400
    for entry in (tmp_path / "embeddings").iterdir():  # of a cut and of one wrong bit
        whole = entry.read_bytes()
        for damaged in (whole[:-7], whole[:-1] + bytes([whole[-1] ^ 1])):
            entry.write_bytes(damaged)
            assert fed(samples, real, encoder, n=250).frechet == score.frechet
            assert entry.read_bytes() == whole
    assert fed(samples, real, encoder, n=250, seed=2).frechet != score.frechet
    # The other way round only samples are left out.
    assert fed(real, samples, encoder, n=250, seed=2).frechet != fed(real, samples, encoder, n=250).frechet


def test_samples_are_not_the_sentences_that_are_drawn_of_the_real_text() -> None:
    """Of one text twice, in the same order: the same part of it would be at a distance of 0."""
    text = [f"{'a ' * (i % 7)}{'b' * (i % 11)} {i}" for i in range(300)]
    assert fed(text, text, Lengths(), n=150).frechet > 1e-3
    assert fed(text, text, Lengths()).frechet == pytest.approx(0, abs=1e-6)


def test_one_real_text_is_measured_once_for_all_samples_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(_Reference):
        def __init__(self, real: npt.NDArray[np.float64], k: int = 0) -> None:
            sizes.append(len(real))
            super().__init__(real, k)

    real = [f"{'a ' * (i % 7)}{'b' * (i % 11)}" for i in range(300)]
    texts = [[f"{'a ' * (i % m)}{'b' * (i % 13)}" for i in range(n)] for m, n in ((5, 200), (6, 200), (4, 150))]
    alone = [fed(text, real, Lengths(), names=("samples", "toy")) for text in texts]
    monkeypatch.setattr("lm_eval.embedding._Reference", Counted)
    judge = MeaningJudge(real, Lengths(), name="toy")
    assert [judge.score(text) for text in texts] == alone
    assert sizes == [200, 150]


def test_bad_texts_are_named() -> None:
    with pytest.raises(InputError, match="samples: expected a list"):
        fed("one string", ["a"] * 9, Lengths())
    with pytest.raises(InputError, match="hundreds"):
        fed(["a"], ["a"] * 9, Lengths())
    with pytest.raises(InputError, match=r"an encoder is the name of one, .*, got NoneType"):
        fed(["a"], ["a"] * 9, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_texts_of_known_quality_are_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearest is other real text; then 5-gram samples and shuffled words, and last one sentence repeated."""
    monkeypatch.setattr("lm_eval.embedding._mauve", _mauve)
    text = list(find_corpus("kjv").splits["train"].sentences())
    text = [line for line in text if line.count(" ") < 12]  # shorter ones take less time
    text = [text[row] for row in np.random.default_rng(5).permutation(len(text))[:3000]]
    real, other, known = text[:400], text[400:800], dict(calibration_texts(text, 400, seed=1))
    judge = MeaningJudge(real)
    texts = [other, known["5-gram samples"], known["training text, words shuffled"], other[:1] * 400]
    scores = [judge.score(each) for each in texts]
    distances = [score.frechet for score in scores]
    assert distances[0] < min(distances[1:3]) < max(distances[1:3]) < distances[3]
    assert scores[0].ci95["frechet"][1] < min(score.ci95["frechet"][0] for score in scores[1:])
    assert scores[3].recall == 0.0
    mauve = [score.mauve or 0.0 for score in scores]
    assert mauve[0] > 0.8 > max(mauve[1:])
