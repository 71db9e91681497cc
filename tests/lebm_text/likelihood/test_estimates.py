"""Means of weights given by their logarithms."""

from __future__ import annotations

import math

import torch

from lebm_text.likelihood.estimates import log_mean_exp, mean_of

from ..toy import gap, normal


def test_log_mean_and_its_error_are_those_of_the_weights() -> None:
    logs = normal(50, 3)
    found, weights = log_mean_exp(logs), logs.exp()
    assert gap(found.value, weights.mean(0).log()) < 1e-12
    assert gap(found.standard_error, weights.std(0) / math.sqrt(50) / weights.mean(0)) < 1e-12
    assert gap(found.ess, weights.sum(0).square() / weights.square().sum(0)) < 1e-9


def test_weights_far_outside_the_range_of_floats() -> None:
    logs = normal(50, 3)
    near, far = log_mean_exp(logs), log_mean_exp(logs.float().double() - 5000)
    assert gap(near.value - 5000, far.value) < 1e-3
    assert gap(near.ess, far.ess) < 1e-3


def test_equal_weights_have_no_error_and_one_weight_has_none_that_is_known() -> None:
    equal = log_mean_exp(torch.full((8, 1), -3.0))
    assert abs(float(equal.value) + 3) < 1e-12
    assert float(equal.standard_error) < 1e-7
    assert abs(float(equal.ess) - 8) < 1e-9
    assert math.isnan(float(log_mean_exp(torch.zeros(1, 1)).standard_error))


def test_mean() -> None:
    values = normal(40)
    found = mean_of(values)
    assert abs(found.value - float(values.mean())) < 1e-12
    assert abs(found.standard_error - float(values.std()) / math.sqrt(40)) < 1e-12
