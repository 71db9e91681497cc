"""Means, perplexity and bits per byte, and their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lebm_text.likelihood.estimates import Spread, mean_of, spread, text_likelihood

from ..toy import normal


def test_a_uniform_model_over_n_words_has_perplexity_n() -> None:
    words = np.array([3, 7, 1])
    found = text_likelihood(-words * math.log(50), np.zeros(3), words, log_z_error=0.0)
    assert found.perplexity == pytest.approx(50)
    assert found.perplexity_standard_error == pytest.approx(0, abs=1e-9)
    assert found.nll == pytest.approx(math.log(50) * 11 / 3)
    assert found.bits_per_byte is None


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
