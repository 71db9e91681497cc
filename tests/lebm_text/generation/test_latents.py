"""The prior's sampling temperature: the law of a linear chain, the Gaussian's own, and what cannot be tempered."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.generation.latents import PosteriorLatents, PriorLatents
from lebm_text.inference.short_run import LangevinChain
from lebm_text.random import KeyedRng, Rng

from ..tiny import tiny_model
from ..toy import Mixture, toy_generator

N = 20_000


class Quadratic(nn.Module):
    """N(mean, I/a) by a chain."""

    latent_dim = 2

    def __init__(self, a: float, mean: float, chain: LangevinChain) -> None:
        super().__init__()
        self.a, self.mean, self.chain = a, mean, chain

    def logdensity(self, z: Tensor) -> Tensor:
        return -0.5 * self.a * (z - self.mean).square().sum(-1)

    neg_energy = logdensity

    def sample(self, n: int, rng: Rng) -> Tensor:
        return self.chain.run(self.logdensity, rng.normal((n, 2)), rng=rng)  # type: ignore[union-attr]

    def log_z(self) -> None:
        return None


@pytest.mark.parametrize(("temperature", "noise"), [(0.25, 1.0), (3.0, 1.0), (0.25, 0.6)])
def test_a_linear_chain_has_the_law_of_its_temperature(temperature: float, noise: float) -> None:
    """From N(0, τ): mean m (1 − b^K), variance τ b^2K + τ n² s² (1 − b^2K)/(1 − b²), b = 1 − a s²/2."""
    a, mean, steps, size = 2.0, 1.5, 6, 0.5
    prior = Quadratic(a, mean, LangevinChain(steps, size, noise))
    z = PriorLatents(prior, toy_generator(), temperature)(range(N), KeyedRng(1, range(N))).double()
    b = 1 - a * size**2 / 2
    left = b ** (2 * steps)
    variance = temperature * (left + noise**2 * size**2 * (1 - left) / (1 - b**2))
    assert z.shape == (N, 2)
    error = (variance / (2 * N)) ** 0.5
    assert abs(z.mean() - mean * (1 - b**steps)) < 4 * error
    assert abs(z.var() - variance) < 4 * variance * (2 / (2 * N)) ** 0.5


def test_a_gaussian_prior_is_drawn_exactly() -> None:
    model = tiny_model(prior="gaussian")
    plain, cold = model.generate(20), model.generate(20, prior_temperature=0.25)
    assert torch.equal(cold.z, 0.5 * plain.z)
    assert cold.signature == plain.signature.replace("T=1)", "T=1,prior_T=0.25)")
    assert cold.settings == plain.settings | {"prior_temperature": 0.25}


def test_an_energy_based_prior_runs_its_chain_and_1_is_the_prior_itself() -> None:
    model = tiny_model()
    plain, same, hot = (
        model.generate(30),
        model.generate(30, prior_temperature=1),
        model.generate(30, prior_temperature=4),
    )
    assert torch.equal(plain.z, same.z)
    assert (plain.settings, plain.signature) == (same.settings, same.signature)
    assert hot.z.std() > 1.5 * plain.z.std()
    chain = LangevinChain(4, 0.5, 2.0)
    rng = KeyedRng(1, range(30))
    expected = chain.run(model.model.prior.logdensity, 2 * rng.normal((30, 4)), rng=rng)
    assert torch.allclose(hot.z, expected, atol=1e-6)
    assert hot.sentences == model.generate(30, prior_temperature=4.0, batch_size=7).sentences


def test_a_long_chain_has_ten_times_the_steps_of_the_prior_s() -> None:
    model = tiny_model()
    prior = model.model.prior
    latents = PriorLatents(prior, model.model.generator, long=True)
    rng = KeyedRng(2, range(5))
    expected = LangevinChain(40, 0.5).run(prior.logdensity, rng.normal((5, 4)), rng=rng)
    assert torch.equal(latents(range(5), KeyedRng(2, range(5))), expected)
    assert (latents.settings, latents.describe()) == ({"latents": "long"}, ",z=chain-x10")
    with pytest.raises(InputError, match="has no chain that could be longer"):
        PriorLatents(Mixture(3), toy_generator(), long=True)


def test_steps_of_the_chain_may_be_asked_for() -> None:
    model = tiny_model()
    prior, generator = model.model.prior, model.model.generator
    for n_steps, temperature in ((7, 1.0), (7, 0.25), (0, 1.0), (0, 4.0)):
        latents = PriorLatents(prior, generator, temperature, n_steps=n_steps)
        rng, width = KeyedRng(2, range(5)), temperature**0.5
        expected = width * rng.normal((5, 4))
        if n_steps:
            expected = LangevinChain(n_steps, 0.5, width).run(prior.logdensity, expected, rng=rng)
        assert torch.allclose(latents(range(5), KeyedRng(2, range(5))), expected, atol=1e-6)
        assert latents.settings["prior_steps"] == n_steps
        assert latents.describe().endswith(f",prior_steps={n_steps}")
    given = PriorLatents(prior, generator, n_steps=np.float64(7)).settings
    assert json.dumps(given) == '{"prior_steps": 7}'
    own = PriorLatents(prior, generator, n_steps=4)(range(5), KeyedRng(2, range(5)))
    assert torch.equal(own, PriorLatents(prior, generator)(range(5), KeyedRng(2, range(5))))
    with pytest.raises(InputError, match="those of a chain of the prior"):
        PriorLatents(Mixture(3), toy_generator(), n_steps=4)
    with pytest.raises(InputError, match="prior_steps must be >= 0"):
        PriorLatents(prior, generator, n_steps=-1)


def test_posterior_latents_are_those_of_the_sentences_in_turn() -> None:
    model = tiny_model()
    texts = ["the cat sees", "a dog", "the dog sees a cat"]
    calls: list[int] = []

    def infer(sentences: list[str], **options: Any) -> torch.Tensor:
        calls.append(len(sentences))
        return model.infer(sentences, **options)

    latents = PosteriorLatents(infer, texts, 7, model.device)
    z = latents(range(2, 9), KeyedRng(1, range(2, 9)))
    assert torch.equal(latents(range(2, 9), KeyedRng(2, range(2, 9))), z)
    assert calls == [7]  # once for all decodings
    assert torch.allclose(z, model.infer([texts[i % 3] for i in range(2, 9)], seed=7, first=2), atol=1e-6)
    assert not torch.isclose(z[0], z[3]).any()  # again the third sentence, with other noise


@pytest.mark.parametrize("value", [0, -1, 101, float("nan"), "hot"])
def test_values_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="prior_temperature must"):
        tiny_model().generate(1, prior_temperature=value)


def test_what_cannot_be_tempered_is_refused() -> None:
    with pytest.raises(InputError, match="this is a language model"):
        tiny_model(latent_dim=0).generate(1, prior_temperature=0.5)
    prior = Mixture(3)
    PriorLatents(prior, toy_generator())
    with pytest.raises(InputError, match="the prior Mixture has neither a chain nor sample_at"):
        PriorLatents(prior, toy_generator(), 0.5)


def test_an_exact_prior_of_ones_own_may_have_its_way() -> None:
    class Tempered(Mixture):
        def sample_at(self, n: int, rng: Rng, temperature: float) -> Tensor:
            return torch.full((n, 3), temperature)

    z = PriorLatents(Tempered(3), toy_generator(), 0.5)(range(4), KeyedRng(1, range(4)))
    assert torch.equal(z, torch.full((4, 3), 0.5))
