"""Chains of the prior: they are those of generation, their figures are those of the states, drift is what it says."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lebm_text.errors import InputError
from lebm_text.generation.settings import DecodeSettings
from lebm_text.inference.short_run import LangevinChain
from lebm_text.models.base import Chain, Prior
from lebm_text.models.priors import GaussianPrior
from lebm_text.reports.chains import QUANTITIES, Chains, decoding_steps, describe_long_run, follow, long_run
from lebm_text.reports.trajectories import walk
from lebm_text.samplers.langevin import gradient

from ..tiny import tiny_model

N_WINDOWS = 10
CPU = torch.device("cpu")


def _with_f(f: NDArray[np.float32]) -> Chains:
    return Chains({}, dict.fromkeys(QUANTITIES, [(0.0, 0.0, 0.0)] * len(f)), f)


def _prior(chain: Chain) -> Prior:
    prior = tiny_model().model.prior
    prior.chain = chain  # type: ignore[misc]
    return prior


def test_the_short_run_is_the_chain_that_generates() -> None:
    model = tiny_model()
    chain = model.config.prior
    chains = follow(model.model.prior, 6, n_steps=3 * chain.n_steps, at=[0, chain.n_steps], seed=5, device=CPU)
    generated = model.generate(6, seed=5)
    torch.testing.assert_close(chains.states[chain.n_steps], generated.z)
    assert model.decode(chains.states[chain.n_steps], DecodeSettings(), seed=5) == generated.sentences
    assert set(chains.states) == {0, chain.n_steps}


def test_the_short_run_is_said_before_the_long_one_ends(caplog: pytest.LogCaptureFixture) -> None:
    model, heard = tiny_model(), list[int]()
    short = model.config.prior.n_steps
    with caplog.at_level(logging.INFO):
        found = follow(
            model.model.prior, 6, n_steps=2 * short, at=[short], seed=5, device=CPU,
            on_step=lambda step: heard.append(step) if caplog.records else None,
        )  # fmt: skip
    (low, median, high) = found.bands["neg_energy"][short]
    assert f"{median:.2f} ({low:.2f} to {high:.2f}) after {short} steps" in caplog.text
    assert heard[0] == short


def test_a_walk_ends_at_a_generated_sentence() -> None:
    model = tiny_model()
    walked = walk(model, 6, DecodeSettings(), seed=5)
    assert [each.step for each in walked] == list(range(7))
    generated, own = model.generate(1, seed=5), walked[model.config.prior.n_steps]
    assert own.text == generated.sentences[0]
    assert own.f == pytest.approx(float(model.model.prior.neg_energy(generated.z).detach()), abs=1e-5)
    with pytest.raises(InputError, match="n_steps must be >= 1"):
        walk(model, 0, DecodeSettings(), seed=5)


def test_figures_are_those_of_the_states() -> None:
    prior, steps = _prior(LangevinChain(5, 0.5)), range(6)
    done: list[int] = []
    chains = follow(
        prior,
        9,
        n_steps=5,
        at=steps,
        seed=1,
        device=CPU,
        on_step=lambda step: done.append(step),
    )
    assert done == list(steps)
    for step in steps:
        z = chains.states[step]
        f, density = prior.neg_energy(z).detach(), prior.logdensity(z).detach()
        of_step = dict(
            zip(QUANTITIES, (f, density, z.norm(dim=1), gradient(prior.logdensity, z).norm(dim=1)), strict=True)
        )
        np.testing.assert_allclose(chains.neg_energy[step], f, rtol=1e-5)
        for name, values in of_step.items():
            expected = np.quantile(values.numpy(), (0.05, 0.5, 0.95))
            np.testing.assert_allclose(chains.bands[name][step], expected, rtol=1e-4, err_msg=name)


def test_a_schedule_goes_on_with_its_last_step_size() -> None:
    sizes = (0.9, 0.1, 0.3)
    short = follow(_prior(LangevinChain(3, sizes)), 4, n_steps=5, at=[5], seed=1, device=CPU)
    long = follow(_prior(LangevinChain(5, (*sizes, 0.3, 0.3))), 4, n_steps=5, at=[5], seed=1, device=CPU)
    torch.testing.assert_close(short.states[5], long.states[5], rtol=0, atol=0)


def test_what_has_no_chain_or_loses_it_is_refused() -> None:
    with pytest.raises(InputError, match="no chain"):
        follow(GaussianPrior(3), 2, n_steps=2, at=[], seed=1, device=CPU)
    with pytest.raises(InputError, match="at step"):
        follow(_prior(LangevinChain(3, 1e20)), 2, n_steps=3, at=[], seed=1, device=CPU)


@pytest.mark.parametrize(("slope", "word"), [(0.01, "rises"), (-0.01, "falls"), (0.0, "constant")])
def test_drift_of_a_known_line(slope: float, word: str) -> None:
    n_long = 200
    noise = np.random.default_rng(1).normal(size=(n_long + 1, 400))
    f = (noise + slope * np.arange(n_long + 1)[:, None] + 5 * np.arange(400)).astype(np.float32)
    long = long_run(_with_f(f), 20)
    assert abs(long.drift.value - slope * n_long / 2) < 4 * long.drift.standard_error < 0.2
    assert [window.first for window in long.windows] == list(range(1, n_long, n_long // N_WINDOWS))
    assert long.windows[-1].last == n_long
    # The second half is centred at step 150.5; the short run ended at step 20.
    assert abs(long.short_minus_long.value + slope * 130.5) < 4 * long.short_minus_long.standard_error
    assert word in describe_long_run(long, 20, n_long)[0]


def test_every_figure_of_a_long_run_is_its_definition() -> None:
    f = np.random.default_rng(3).normal(size=(41, 6)).astype(np.float32)
    bands = {name: [(float(i), float(step), 0.0) for step in range(41)] for i, name in enumerate(QUANTITIES)}
    long = long_run(Chains({}, bands, f), 4)
    for i, window in enumerate(long.windows):
        of_chain = f[1 + 4 * i : 5 + 4 * i].astype(float).mean(0)
        assert (window.first, window.last) == (1 + 4 * i, 4 + 4 * i)
        assert window.mean.value == pytest.approx(of_chain.mean())
        assert window.mean.standard_error == pytest.approx(of_chain.std(ddof=1) / 6**0.5)
    late = f[21:].astype(float)
    assert long.fluctuation == pytest.approx(late.std())
    assert long.short_minus_long.value == pytest.approx((f[4] - late.mean(0)).mean())
    assert long.curve.steps == list(range(41))
    assert (long.curve.neg_energy, long.curve.norm) == (bands["neg_energy"], bands["norm"])


def test_a_short_run_that_has_not_arrived_is_said_to_lie_below() -> None:
    steps = np.arange(201)[:, None]
    f = np.random.default_rng(2).normal(0, 0.1, (201, 50)) + np.minimum(steps, 60) / 60
    said = describe_long_run(long_run(_with_f(f.astype(np.float32)), 20), 20, 200)
    assert "constant" in said[0]
    assert "ends below" in said[1]


def test_steps_that_are_decoded() -> None:
    assert decoding_steps(40) == [0, 1, 5, 10, 20, 40]
    assert decoding_steps(25) == [0, 1, 5, 10, 20, 25]
    assert decoding_steps(1) == [0, 1]
