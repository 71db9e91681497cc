"""log Z: closed forms, the grid, agreement demanded, the prior's samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.likelihood.estimates import Estimate, LogZ
from lebm_text.likelihood.partition import log_partition, partition_of
from lebm_text.models.priors import GaussianPrior, base_log_prob
from lebm_text.samplers.ais import anneal, tune
from lebm_text.samplers.hmc import evaluate, hmc, normal_noise

from ..recording import record_on_cpu
from ..toy import gap, seeded
from .oracles import grid_log_z, text_model

LIKE = torch.zeros(3, dtype=torch.float64)
SIZES: dict[str, Any] = {"n_steps": 40, "n_chains": 1500, "n_draws": 100_000, "n_moves": 10}


def _quadratic(z: Tensor) -> Tensor:
    """f with log Z = ½ Σ_d [b² / (1 + a) − log(1 + a)], a = (0.5, −0.2, 1), b = (0.6, 0.3, −0.5)."""
    a, b = z.new_tensor([0.5, -0.2, 1.0]), z.new_tensor([0.6, 0.3, -0.5])
    return (b * z - 0.5 * a * z.square()).sum(-1)


QUADRATIC = 0.5 * sum(
    b * b / (1 + a) - math.log(1 + a) for a, b in zip([0.5, -0.2, 1.0], [0.6, 0.3, -0.5], strict=True)
)


def _each(log_z: LogZ) -> list[Estimate]:
    assert log_z.importance is not None
    return [log_z.forward, log_z.reverse, log_z.importance]


def test_quadratic_f_in_closed_form() -> None:
    found, _ = log_partition(_quadratic, LIKE, rng=seeded(1), **SIZES)
    for estimate in _each(found):
        assert estimate.standard_error < 0.01
        assert abs(estimate.value - QUADRATIC) < 4 * estimate.standard_error
    found.check()
    assert abs(QUADRATIC) > 0.1


def test_a_recorded_estimate_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = {"n_steps": 12, "n_chains": 40, "n_draws": 2000, "n_moves": 5}
    wanted, samples = log_partition(_quadratic, LIKE, rng=seeded(1), **sizes)
    record_on_cpu(monkeypatch)
    found, again = log_partition(_quadratic, LIKE, rng=seeded(1), **sizes)
    assert (found.forward.value, found.reverse.value) == pytest.approx((wanted.forward.value, wanted.reverse.value))
    assert gap(again, samples) < 1e-9


def test_mlp_prior_against_a_grid_to_a_hundredth_nat() -> None:
    prior, _, _ = text_model()
    found, _ = log_partition(
        prior.neg_energy, LIKE[:2], n_steps=60, n_chains=4000, n_draws=200_000, n_moves=10, rng=seeded(1)
    )
    wanted = float(grid_log_z(prior))
    for estimate in _each(found):
        assert abs(estimate.value - wanted) < 0.01
    assert abs(wanted) > 0.1


def test_samples_are_of_the_tilted_density() -> None:
    _, samples = log_partition(_quadratic, LIKE, rng=seeded(1), **SIZES)
    assert samples.shape == (1500, 3)
    variance = 1 / (1 + LIKE.new_tensor([0.5, -0.2, 1.0]))
    mean = variance * LIKE.new_tensor([0.6, 0.3, -0.5])
    assert bool(((samples.mean(0) - mean).abs() < 4 * (variance / 1500).sqrt()).all())
    assert bool(((samples.var(0) - variance).abs() < 4 * variance * math.sqrt(2 / 1500)).all())


def test_long_chains_take_over_where_few_draws_carry_all() -> None:
    """f = 4 Σ z has log Z = 24 and weights that 2,000 draws do not cover."""
    found, _ = log_partition(
        lambda z: 4 * z.sum(-1), LIKE, n_steps=150, n_chains=800, n_draws=2000, n_long=60, rng=seeded(1)
    )
    assert "from p0" in found.samples_from
    assert found.importance is None
    assert found.importance_ess < 50
    for estimate in (found.forward, found.reverse):
        assert abs(estimate.value - 24) < 4 * estimate.standard_error < 0.5


@pytest.mark.parametrize(("slope", "enough"), [(0.3, True), (4.0, False)])
def test_the_two_ways_and_where_they_begin_written_out(slope: float, enough: bool) -> None:
    """Reverse AIS begins from resampled draws and few moves, or from p0 and many, at the last step size tuned."""
    n, n_draws, rng = 30, 400, seeded(3)

    def f(z: Tensor) -> Tensor:
        return slope * z.sum(-1)

    def noise() -> Tensor:
        return normal_noise(rng, LIKE.expand(n, 1, 3))

    sizes: dict[str, Any] = {"n_steps": 6, "n_chains": n, "n_draws": n_draws, "n_moves": 3, "n_long": 5}
    found, samples = log_partition(f, LIKE, rng=seeded(3), **sizes)
    terms = (base_log_prob, f)
    schedule = tune(terms, noise(), n_steps=6, rng=rng)
    forward = anneal(terms, noise(), schedule, rng=rng)
    draws = torch.randn(n_draws, 3, generator=rng).double()
    weights = f(draws).exp()
    ess = float(weights.sum() ** 2 / weights.square().sum())
    assert (ess >= n) == enough
    # The i-th sample is the draw in whose share of all the weight the (i + u)-th of n equal parts lies.
    levels = (torch.arange(n) + torch.rand(1, generator=rng)) * weights.sum() / n
    chosen = [int((weights.cumsum(0) <= level).sum()) for level in levels]
    start = evaluate(terms, draws[chosen].unsqueeze(1) if enough else noise())
    n_moves, size = 3 if enough else 5, schedule.step_sizes[-1]
    moved, _ = hmc(terms, (1.0, 1.0), start, step_size=size, n_steps=n_moves, rng=rng)
    reverse = anneal(terms, moved.z, schedule, rng=rng, reverse=True)
    assert gap(samples, moved.z[:, 0]) == 0
    assert found.importance is None  # 400 draws are too few to say anything
    assert found.importance_ess == pytest.approx(ess)
    assert found.acceptance == pytest.approx(float(forward.acceptance + reverse.acceptance) / 2)
    for estimate, weights, sign in ((found.forward, forward.log_weights, 1), (found.reverse, reverse.log_weights, -1)):
        weights = (sign * weights[:, 0]).exp()
        assert estimate.value == pytest.approx(sign * math.log(float(weights.mean())))
        assert estimate.standard_error == pytest.approx(float(weights.std() / weights.mean()) / math.sqrt(n))
    assert found.samples_from == ("resampled p0 draws and 3 MALA steps" if enough else "5 MALA steps from p0")


def test_an_f_of_a_thousand_nats_overflows_nothing() -> None:
    """Behind a wall at 2 lie 2 % of the base, where exp(f) is 0: log Z = log Φ(2)."""

    def f(z: Tensor) -> Tensor:
        return torch.where(z[..., 0] > 2, -1000.0, 0.0).to(z) + 0 * z.sum(-1)

    found, samples = log_partition(f, LIKE, n_steps=20, n_chains=300, n_draws=20_000, n_moves=0, rng=seeded(1))
    assert found.importance is not None
    wanted = math.log(0.5 * (1 + math.erf(2 / math.sqrt(2))))
    assert abs(found.importance.value - wanted) < 4 * found.importance.standard_error
    assert float(samples[:, 0].max()) <= 2
    assert len({tuple(row) for row in samples.tolist()}) > 290  # resampled draws, not one of them 300 times


def test_plain_importance_sampling_takes_part_from_an_effective_size_of_10000_on() -> None:
    """Weights that are all equal make it the number of draws."""
    for n_draws, takes_part in ((9_999, False), (10_000, True)):
        found, _ = log_partition(
            lambda z: 0 * z[..., 0] + 0.5, LIKE, n_steps=2, n_chains=5, n_draws=n_draws, rng=seeded(1)
        )
        assert (found.importance is not None) == takes_part
        if found.importance is not None:
            assert found.importance.value == pytest.approx(0.5)


def test_a_prior_has_the_log_z_of_its_f_with_256_draws_for_each_chain() -> None:
    prior, _, _ = text_model(dtype=torch.float32)
    found, samples = partition_of(prior, 5, 20, seed=3, device=torch.device("cpu"))
    wanted, theirs = log_partition(
        prior.neg_energy, LIKE[:2].float(), n_steps=5, n_chains=20, n_draws=256 * 20, rng=seeded(3)
    )
    assert found == wanted
    assert torch.equal(samples, theirs)


def test_zero_f_is_exactly_zero() -> None:
    found, _ = log_partition(lambda z: torch.zeros_like(z[..., 0]), LIKE, rng=seeded(1), **SIZES)
    assert found.forward.value == found.reverse.value == 0
    exact, samples = partition_of(GaussianPrior(3), n_chains=50, seed=2, device=torch.device("cpu"))
    assert _each(exact) == [Estimate(0.0, 0.0)] * 3
    assert torch.equal(samples, torch.randn(50, 3, generator=seeded(2)))
    exact.check()


@pytest.mark.parametrize(
    "change",
    [
        {"forward": Estimate(-0.03, 0.001)},
        {"reverse": Estimate(0.03, 0.001)},
        {"importance": Estimate(0.03, 0.001)},
        {"forward": Estimate(0.0, 0.03)},
        {"reverse": Estimate(math.nan, 0.001)},
        {"forward": Estimate(0.0, math.nan)},
    ],
)
def test_disagreement_is_refused_with_both_values_and_what_to_raise(change: dict[str, Estimate]) -> None:
    fine = LogZ(Estimate(0.0, 0.001), Estimate(0.01, 0.001), None, 5.0, "", 0.6)
    fine.check()
    with pytest.raises(InputError, match=r"forward AIS .*reverse AIS .*more partition steps") as error:
        replace(fine, **change).check()  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_the_same_seed_gives_the_same_values() -> None:
    small: dict[str, Any] = {"n_steps": 5, "n_chains": 20, "n_draws": 500, "n_moves": 2}
    first, again = (log_partition(_quadratic, LIKE, rng=seeded(4), **small) for _ in range(2))
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
