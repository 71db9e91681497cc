"""The monitor: figures against known answers; warnings for sick models and none for a healthy one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lebm_text.build import LatentModel
from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.models.priors import base_log_prob
from lebm_text.processes import ALONE
from lebm_text.random import Rng, draw_normal
from lebm_text.run import Run
from lebm_text.text.batching import Batch, BatchPlan, EncodedCorpus
from lebm_text.training.events import ignore
from lebm_text.training.loop import Limits, TrainingLoop
from lebm_text.training.monitor import (
    Averages,
    Monitor,
    Update,
    Watchdog,
    chain_gap,
    largest_curvature,
    probe,
    spread,
)
from lebm_text.training.trainer import Trainer

from ..toy import BOS, EOS, LATENT, normal, seeded, toy_batch, toy_config, toy_model, toy_prior

figures = st.dictionaries(st.sampled_from("abcd"), st.floats(-1e6, 1e6), max_size=4)


@given(updates=st.lists(figures, max_size=8), split=st.integers(0, 8))
def test_averages_survive_a_checkpoint(updates: list[dict[str, float]], split: int) -> None:
    whole, first = Averages(), Averages()
    for values in updates:
        whole.add(values)
    for values in updates[:split]:
        first.add(values)
    second = Averages(json.loads(json.dumps(first.sums)))
    for values in updates[split:]:
        second.add(values)
    means = second.flush()
    assert means == whole.flush()
    assert second.flush() == {}
    for name, mean in means.items():
        given_ = [values[name] for values in updates if name in values]
        assert mean == pytest.approx(sum(given_) / len(given_), abs=1e-6)


def test_spread_is_the_standard_deviation_over_the_batch() -> None:
    scales = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    z = normal(20_000, 3) * scales + torch.tensor([5.0, 0.0, -5.0])
    assert float(spread(z)) == pytest.approx(math.sqrt(14 / 3), rel=0.02)
    assert spread(torch.ones(4, 3)) == 0


def _seen(z: Tensor, batch: Batch, step: int = 1, norm: float = 1.0) -> Update:
    share = ALONE.share(batch)
    norms = {"grad_generator": torch.tensor(norm)}
    return Update(step, share, z, z.flip(0), z - 1, torch.full((len(z),), -6.0), {"noise_scale": 0.5}, norms)


@pytest.mark.usefixtures("whole_measurements")
def test_a_probe_tells_own_z_from_anothers() -> None:
    model, batch = toy_model(toy_config(), seed=5), toy_batch([6, 4, 4, 1])
    z = normal(4, LATENT).float()
    infer = ShortRun(n_steps=2, step_size=[0.4, 0.6])
    found = probe(_seen(z, batch), infer, model.prior, model.generator, rng=seeded())
    likelihood = model.generator.likelihood(batch)
    for name, at in {"posterior": z, "prior": z.flip(0), "shuffled": z[[3, 0, 1, 2]]}.items():
        assert float(found[f"nll_{name}"]) == pytest.approx(-float(likelihood(at).sum()) / 15)
    noise = seeded()
    curvature = largest_curvature(infer.target(model.prior, likelihood), z, rng=noise)
    assert float(found["curvature_posterior"]) == pytest.approx(float(curvature) * 0.6**2 / 4)
    chain = model.prior.chain
    assert chain is not None
    curvature = largest_curvature(model.prior.logdensity, z.flip(0), rng=noise)
    assert float(found["curvature_prior"]) == pytest.approx(float(curvature) * chain.largest_step**2 / 4)
    assert float(found["chain_gap"]) == pytest.approx(chain_gap(model.prior, chain, rng=noise).item())
    curvatures = {"curvature_posterior", "curvature_prior"}
    assert set(found) == {"nll_posterior", "nll_prior", "nll_shuffled", "chain_gap"} | curvatures


class Quadratic(nn.Module):
    """p_α = N(0, 1/c): f = −(c − 1) z²/2, sampled by a chain."""

    latent_dim = 2

    def __init__(self, curvature: float, step_size: float) -> None:
        super().__init__()
        self.curvature, self.chain = curvature, LangevinChain(40, step_size)

    def neg_energy(self, z: Tensor) -> Tensor:
        return z.square().sum(-1) * (0.5 * (1 - self.curvature))

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z) + self.neg_energy(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        return self.chain.run(self.logdensity, draw_normal(rng, (n, 2)), rng=rng)

    def log_z(self) -> None:
        return None


@pytest.mark.parametrize(("curvature", "step_size"), [(1.0, 0.5), (4.0, 0.2), (4.0, 0.5), (8.0, 0.5), (10.0, 0.5)])
def test_the_chains_gap_is_that_of_its_stationary_law(curvature: float, step_size: float) -> None:
    """A chain of step s ends at variance 1 / (c (1 − c s²/4)) where p_α has 1 / c; within 4 standard errors."""
    prior = Quadratic(curvature, step_size)
    ratio = 1 / (1 - curvature * step_size**2 / 4)
    exact = -(curvature - 1) / curvature * (ratio - 1)
    n, n_adjusted = 4000, 4000  # of the averages of 30 proposals no more than the chains is assumed
    error = (curvature - 1) / curvature * math.sqrt(ratio**2 / n + 1 / n_adjusted)
    found = float(chain_gap(prior, prior.chain, rng=seeded(3), n=n))
    assert abs(found - exact) <= 4 * error
    if ratio > 1.5:
        assert found < -4 * error


def test_figures_wait_and_are_averaged_over_the_interval() -> None:
    prior, batch = toy_prior(dtype=torch.float32), toy_batch([6, 4, 4, 1])
    monitor, draws = Monitor(prior, ALONE), [normal(4, LATENT, seed=seed).float() for seed in (1, 2, 3)]
    for step, z in enumerate(draws, 1):
        monitor.add(_seen(z, batch, step), {"nll_prior": torch.tensor(3.0)} if step == 3 else {})
    assert monitor.averages.sums == {}
    means = monitor.flush()
    with torch.no_grad():
        energy = sum(float(prior.neg_energy(z).mean()) for z in draws) / 3
    assert means["f_positive"] == pytest.approx(energy)
    assert means["gap"] == pytest.approx(0, abs=1e-6)
    assert means["std_negative"] == pytest.approx(means["std_positive"])  # z⁻ are z⁺ in another order
    assert means["move_negative"] == pytest.approx(
        sum(float((z.flip(0) - z + 1).norm(dim=1).mean()) for z in draws) / 3
    )
    assert means["nll_token"] == pytest.approx(24 / 15)
    assert (means["nll_prior"], means["noise_scale"]) == (3.0, 0.5)
    assert monitor.flush() == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_is_named_with_its_figures(value: float) -> None:
    monitor, z = Monitor(toy_prior(dtype=torch.float32), ALONE), normal(4, LATENT).float()
    for step, norm in ((4, 1.0), (5, value), (6, math.nan)):
        monitor.add(_seen(z, toy_batch([6, 4, 4, 1]), step, norm), {})
    with pytest.raises(FloatingPointError, match=r"non-finite grad_generator at step 5 \(f_positive "):
        monitor.collect()


@pytest.mark.parametrize("eigenvalues", [(0.5, 2.0, 7.0), (-9.0, 1.0, 2.0), (3.0, 3.0, 3.0), (0.0, 0.0, 4.0)])
def test_largest_curvature_of_a_quadratic(eigenvalues: tuple[float, ...]) -> None:
    """−log density ½ zᵀ A z with eigenvalues as given, in turned axes: the largest magnitude comes out."""
    axes, _ = torch.linalg.qr(normal(3, 3, seed=3))
    matrix = axes @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ axes.T

    def logdensity(z: Tensor) -> Tensor:
        return -0.5 * torch.einsum("bi,ij,bj->b", z, matrix, z)

    # Many rows, so that one begins near the wanted axis; power iteration comes from below.
    found = float(largest_curvature(logdensity, normal(200, 3, seed=4), rng=seeded(1)))
    largest = max(map(abs, eigenvalues))
    assert 0.99 * largest < found < largest * (1 + 1e-6)


def test_largest_curvature_is_that_of_the_worst_row() -> None:
    def logdensity(z: Tensor) -> Tensor:
        return -0.5 * torch.tensor([1.0, 50.0, 2.0]) * z.square().sum(-1)

    assert float(largest_curvature(logdensity, normal(3, 2), rng=seeded())) == pytest.approx(50.0, rel=1e-4)


def test_largest_curvature_of_a_flat_density_is_zero() -> None:
    assert float(largest_curvature(lambda z: z.sum(-1), normal(3, 2), rng=seeded())) == pytest.approx(0, abs=1e-9)


HEALTHY = {
    "nll_posterior": 2.0,
    "nll_shuffled": 2.5,
    "curvature": 0.2,
    "chain_gap": -0.1,
    "gap": 1.0,
    "std_ratio": 0.9,
    "valid_ppl_posterior": 30.0,
    "valid_ppl_prior": 1e29,
    "uniform_ppl": 100.0,
}


@pytest.mark.parametrize(
    ("sign", "part"),
    [
        ({"nll_shuffled": 2.0099}, "z is ignored"),
        ({"nll_shuffled": 1.0}, "z is ignored"),
        ({"curvature": 0.51}, "instability"),
        ({"chain_gap": -0.51}, "fit the chain"),
        ({"chain_gap": 0.51}, "fit the chain"),
        ({"gap": 32.1}, "drift apart"),
        ({"gap": -32.1}, "drift apart"),
        ({"std_ratio": 0.49}, "spread"),
        ({"std_ratio": 2.01}, "spread"),
        ({"valid_ppl_posterior": 110.1}, "guessing at random: 100,"),
    ],
)
def test_each_sign_is_said_once_and_again_when_it_comes_back(sign: dict[str, float], part: str) -> None:
    watchdog = Watchdog(latent_dim=32)
    assert watchdog.check(HEALTHY) == {}
    told = watchdog.check(HEALTHY | sign)
    (message,) = told.values()
    assert part in message
    assert watchdog.check(HEALTHY | sign) == {}
    assert watchdog.check(HEALTHY) == {}
    assert watchdog.check(HEALTHY | sign) == told
    assert Watchdog(32, sorted(watchdog.active)).check(HEALTHY | sign) == {}  # as after a resume


def test_short_of_the_thresholds_nothing_is_said() -> None:
    short = {"nll_posterior": 2.0, "nll_shuffled": 2.01, "curvature": 0.49, "gap": 31.9, "std_ratio": 0.51}
    assert Watchdog(32).check(short) == {}
    assert Watchdog(32).check(short | {"gap": -31.9, "std_ratio": 1.99, "chain_gap": -0.49}) == {}
    assert Watchdog(32).check({}) == {}
    assert Watchdog(32).check({"valid_ppl": 109.9, "uniform_ppl": 100.0}) == {}
    assert len(Watchdog(0).check({"valid_ppl": 1e29, "uniform_ppl": 100.0})) == 1


def test_a_sign_that_wavers_is_not_repeated() -> None:
    watchdog = Watchdog(32)
    assert len(watchdog.check(HEALTHY | {"curvature": 0.6})) == 1
    for curvature in (0.45, 0.6, 0.3, 0.51):
        assert watchdog.check(HEALTHY | {"curvature": curvature}) == {}
    assert watchdog.check({}) == {}  # nothing measured, nothing over
    assert watchdog.check(HEALTHY | {"curvature": 0.6}) == {}


def test_hopeless_figures_are_no_error() -> None:
    """A z of another sentence may cost thousands of nats a token without the watchdog failing."""
    assert Watchdog(32).check(HEALTHY | {"nll_shuffled": 1e6}) == {}


def _spoken(model: LatentModel, n: int) -> EncodedCorpus:
    """n sentences that the generator itself says, each under a z of its own: z is worth knowing."""
    z, rng, state_tokens = normal(n, LATENT, seed=3).float(), seeded(4), torch.full((n,), BOS)
    state, rows = model.generator.start(z), []
    for _ in range(6):
        logits, state = model.generator.step(state_tokens, state)
        logits[:, :4] = -math.inf
        state_tokens = torch.multinomial(logits.softmax(-1), 1, generator=rng)[:, 0]
        rows.append(state_tokens)
    tokens = torch.stack([*rows, torch.full((n,), EOS)], 1).numpy()
    return EncodedCorpus(tokens.astype(np.int32).ravel(), np.arange(0, 7 * n + 1, 7))


def _warnings(directory: Path, sickness: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the loop warns of in three updates of a model that speaks with z, before or after it fell ill."""
    config = toy_config(
        {
            "model": {"dropout": 0.0, "init_range": 1.3},
            "inference": {"n_steps": 60, "step_size": 0.15, "likelihood_weight_start": None},
            "training": {"n_epochs": 1, "batch_size": 32, "batch_tokens": 1000, "report_every": 1}
            | {"learning_rate": 1e-9, "prior_learning_rate": 0.0},
        }
    )
    model = toy_model(config, seed=5)
    corpus = _spoken(model, 96)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.mul_(0.05)
        if sickness == "collapsed":
            for path in ("latent_weight", "initial_h.weight", "initial_c.weight"):
                model.get_parameter(f"generator.{path}").zero_()
        if sickness == "runaway":  # an energy that pays for leaving the centre, and steeply
            for parameter in model.prior.parameters():
                parameter.mul_(20 * 4)
    plan = BatchPlan(corpus, 32, 1000, seed=1)
    trainer = Trainer(model, config, n_sentences=len(corpus), mean_batch_size=plan.mean_batch_size)

    def nothing(_progress: Any) -> dict[str, float]:
        return {}

    directory.mkdir()
    caplog.clear()
    loop = TrainingLoop(trainer, plan, Run(directory), on_event=ignore, end_of_epoch=nothing)
    assert loop.run(Limits()) == "finished"
    return caplog.messages


def test_collapsed_and_runaway_models_are_reported_and_a_healthy_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert _warnings(tmp_path / "healthy", "none", caplog) == []
    collapsed = _warnings(tmp_path / "collapsed", "collapsed", caplog)
    assert len(collapsed) == 1
    assert "z is ignored" in collapsed[0]
    assert collapsed[0].startswith("step 1: ")
    runaway = " ".join(_warnings(tmp_path / "runaway", "runaway", caplog))
    assert "drift apart" in runaway or "spread" in runaway
    assert "instability" in runaway
