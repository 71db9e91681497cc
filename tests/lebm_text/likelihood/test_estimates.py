"""Means, perplexity and bits per byte, and their errors."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text.likelihood.estimates import (
    TOLERANCE,
    AISLikelihood,
    Estimate,
    ImportanceLikelihood,
    LogZ,
    SentenceLikelihood,
    Spread,
    Text,
    TextLikelihood,
    mean_of,
    spread,
    text_likelihood,
)
from lebm_text.likelihood.sentences import AISBounds, AISSettings
from lebm_text.samplers.importance import LogMean

from ..toy import normal, toy_corpus


def test_a_uniform_model_over_n_words_has_perplexity_n() -> None:
    words = np.array([3, 7, 1])
    found = text_likelihood(-words * math.log(50), np.zeros(3), words, log_z_error=0.0)
    assert found.perplexity == pytest.approx(50)
    assert found.perplexity_standard_error == pytest.approx(0, abs=1e-9)
    assert found.nll == pytest.approx(math.log(50) * 11 / 3)
    assert found.bits_per_byte is None


def test_an_impossible_text_has_infinite_perplexity() -> None:
    """As of a model whose training diverged: 800 nats a word are more than a number can say."""
    found = text_likelihood(-np.array([8000.0, 1600.0]), np.zeros(2), np.array([10, 2]), log_z_error=0.0)
    assert (found.perplexity, found.nll) == (math.inf, 4800.0)


def test_bits_per_byte() -> None:
    n_bytes = np.array([10, 30])
    found = text_likelihood(
        -np.array([20.0, 50.0]) * math.log(2), np.zeros(2), np.array([2, 2]), log_z_error=0, n_bytes=n_bytes
    )
    assert found.bits_per_byte == pytest.approx(70 / 40)


def test_errors_cover_resampled_texts() -> None:
    """The spread of the perplexity over texts drawn again, against the error that one text gives."""
    draw = np.random.default_rng(0)
    words = draw.integers(2, 30, (2000, 100))
    nll = words * 2.0 + 3 * draw.normal(size=words.shape)
    found = [text_likelihood(-a, np.zeros(100), b, log_z_error=0.0) for a, b in zip(nll, words, strict=True)]
    ppl = np.array([figures.perplexity for figures in found], dtype=float)
    errors = np.array([figures.perplexity_standard_error for figures in found], dtype=float)
    assert errors.mean() == pytest.approx(ppl.std(), rel=0.08)


def test_the_error_of_log_z_is_common_to_all_sentences() -> None:
    n, one = 400, 0.2
    found = text_likelihood(-np.ones(n), np.full(n, one), np.ones(n, dtype=int), log_z_error=0.03)
    assert found.nll_sampling_error == pytest.approx(math.hypot(one / math.sqrt(n), 0.03))


def test_one_sentence_has_no_error_and_one_chain_none_from_sampling() -> None:
    found = text_likelihood(np.array([-3.0]), np.array([math.nan]), np.array([2]), log_z_error=0.0)
    assert found.perplexity == pytest.approx(math.exp(1.5))
    assert found.nll_standard_error is found.perplexity_standard_error is found.nll_sampling_error is None


def test_spread() -> None:
    assert spread(torch.tensor([3.0, 1.0, 8.0])) == Spread(1.0, 3.0, 4.0)


def test_mean() -> None:
    values = normal(40)
    found = mean_of(values)
    assert abs(found.value - float(values.mean())) < 1e-12
    assert abs(found.standard_error - float(values.std()) / math.sqrt(40)) < 1e-12


# Five sentences: four bounded by AIS with eight chains, all five by importance sampling, of which three count.
WORDS, BYTES, LENGTHS = np.array([3, 7, 2, 5, 4]), np.array([14, 40, 9, 21, 30]), [4, 8, 2, 6, 4]
LOG_Z = LogZ(Estimate(0.5, 0.01), Estimate(0.51, 0.004), None, 12.0, "", 0.6)
LOG_A = LogMean(
    torch.tensor([-9.0, -21.5, -4.25, -13.0]), torch.tensor([0.3, 0.2, 0.1, 0.5]), torch.tensor([7.0, 1.5, 4.0, 6.5])
)
IMPORTANCE = LogMean(
    torch.tensor([-9.125, -21.0, -4.5, -12.0, -11.0]),
    torch.tensor([0.1, 0.9, 0.2, 0.3, 0.4]),
    torch.tensor([100.0, 99.9, 250.0, 30.0, 400.0]),
)
AIS = AISBounds(
    LOG_A, torch.tensor([0.5, 0.75, 0.6, 0.7]), normal(8, 4, 3, seed=5).float(), torch.tensor([-6.0, -18.0, -3.0, -9.0])
)


def _text(n_bytes: bool = True) -> Text:
    return Text(toy_corpus(LENGTHS), WORDS, BYTES if n_bytes else None)


def _expected(log_a: LogMean, rows: list[int]) -> dict[str, Any]:
    """What a text of these sentences is said to have."""
    n = len(rows)
    nll = [0.51 - float(log_a.value[row]) for row in rows]
    words, n_bytes = [int(WORDS[row]) for row in rows], [int(BYTES[row]) for row in rows]

    def ratio(top: list[float], bottom: list[int]) -> tuple[float, float]:
        """And its error by the delta method."""
        value = sum(top) / sum(bottom)
        residuals = [a - value * b for a, b in zip(top, bottom, strict=True)]
        return value, statistics.stdev(residuals) * math.sqrt(n) / sum(bottom)

    per_word, of_word = ratio(nll, words)
    bits, of_bits = ratio([value / math.log(2) for value in nll], n_bytes)
    errors = [float(log_a.standard_error[row]) for row in rows]
    return {
        "n_sentences": n,
        "n_words": sum(words),
        "nll": statistics.fmean(nll),
        "nll_standard_error": statistics.stdev(nll) / math.sqrt(n),
        "nll_sampling_error": math.sqrt(sum(error**2 for error in errors) / n**2 + 0.004**2),
        "perplexity": math.exp(per_word),
        "perplexity_standard_error": math.exp(per_word) * of_word,
        "bits_per_byte": bits,
        "bits_per_byte_standard_error": of_bits,
    }


def _figures(of: TextLikelihood | None) -> dict[str, Any]:
    assert of is not None
    return {field.name: getattr(of, field.name) for field in dataclasses.fields(TextLikelihood)}


def test_every_figure_of_the_bound_is_its_definition() -> None:
    found = AISLikelihood.of(AIS, AISSettings(n_steps=9), LOG_Z, _text())
    assert _figures(found) == pytest.approx(_expected(LOG_A, [0, 1, 2, 3]))
    assert found.settings == AISSettings(n_steps=9)
    assert dataclasses.astuple(found.acceptance) == pytest.approx((0.5, 0.65, 0.6375))
    assert dataclasses.astuple(found.ess) == pytest.approx((1.5, 5.25, 4.75))
    assert AISLikelihood.of(AIS, AISSettings(), LOG_Z, _text(n_bytes=False)).bits_per_byte is None


def test_every_figure_of_importance_sampling_is_its_definition() -> None:
    """An effective size of 100 is enough; sentences are compared that both methods have a value of."""
    found = ImportanceLikelihood.of(IMPORTANCE, AIS, LOG_Z, _text())
    assert (found.n_sentences, found.n_reliable, found.min_ess) == (5, 3, 100)
    assert dataclasses.astuple(found.ess) == pytest.approx((30.0, 100.0, 175.98))
    assert _figures(found.of_reliable) == pytest.approx(_expected(IMPORTANCE, [0, 2, 4]))
    same = found.same_sentences
    assert same is not None
    assert (same.n_sentences, same.importance_minus_ais, same.largest) == pytest.approx((2, -0.1875, 0.25))
    alone = ImportanceLikelihood.of(IMPORTANCE, None, LOG_Z, _text())
    assert (alone.of_reliable, alone.same_sentences) == (found.of_reliable, None)


def test_every_figure_of_a_sentence_is_its_definition() -> None:
    found = SentenceLikelihood.each(AIS, IMPORTANCE, LOG_Z, _text())
    assert [row.n_tokens for row in found] == LENGTHS
    lower, value = (
        [None if figure is None else round(figure, 4) for figure in figures]
        for figures in ([row.log_p_lower for row in found], [row.log_p_importance for row in found])
    )
    assert lower == [-9.51, -22.01, -4.76, -13.51, None]
    assert value == [-9.635, None, -5.01, None, -11.51]
    assert [row.standard_error for row in found] == pytest.approx([0.3, 0.2, 0.1, 0.5, None])
    assert [row.ess for row in found] == pytest.approx([100.0, 99.9, 250.0, 30.0, 400.0])
    one_chain = AIS._replace(z=AIS.z[:1])
    assert [row.standard_error for row in SentenceLikelihood.each(one_chain, None, LOG_Z, _text())] == [None] * 4
    assert SentenceLikelihood.each(None, None, LOG_Z, _text()) == []


def test_log_z_is_known_as_well_as_its_worst_difference_or_error() -> None:
    """Of three values the largest less the smallest; the tolerance itself counts as agreement."""
    three = dataclasses.replace(LOG_Z, importance=Estimate(0.525, 0.001))
    assert (LOG_Z.disagreement, three.disagreement) == pytest.approx((0.01, 0.025))
    assert dataclasses.replace(LOG_Z, forward=Estimate(0.5, 0.03)).disagreement == 0.03
    dataclasses.replace(LOG_Z, reverse=Estimate(0.5, TOLERANCE)).check()
