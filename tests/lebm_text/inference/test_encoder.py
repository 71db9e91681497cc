"""The encoder: PyTorch's LSTM with the same weights; its posterior: PyTorch's densities, the bound against a grid."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from lebm_text.inference.base import Moments
from lebm_text.inference.encoder import Amortized, LSTMEncoder, SemiAmortized
from lebm_text.inference.variational import FreeBits, base_kl, sample
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.random import KeyedRng
from lebm_text.text.batching import Batch

from ..toy import BOS, LATENT, VOCABULARY, gap, normal, seeded, toy_batch, toy_generator, toy_prior

LENGTHS = (6, 4, 4, 1)


def toy_encoder(*, dtype: torch.dtype = torch.float64, **options: Any) -> LSTMEncoder:
    """E = 5 and H = 6, with weights so large that every term counts."""
    sizes = {"latent_dim": LATENT, "embedding_dim": 5, "hidden_dim": 6, "init_range": 0.8} | options
    return LSTMEncoder(VOCABULARY, rng=seeded(), **sizes).to(dtype)


def _plain(encoder: LSTMEncoder, tokens: Tensor) -> Tensor:
    """[μ; log σ²] of one sentence (T,). PyTorch has the gates in the order i, f, g, o."""
    lstm = nn.LSTM(5, 6, batch_first=True).double()
    order = [0, 1, 3, 2]

    def blocks(weight: Tensor) -> Tensor:
        return torch.cat([weight.chunk(4)[i] for i in order])

    values = {
        "weight_ih_l0": blocks(encoder.token_weight.detach()),
        "weight_hh_l0": blocks(encoder.recurrent_weight.detach()),
        "bias_ih_l0": blocks(encoder.gate_bias.detach()),
        "bias_hh_l0": torch.zeros(24, dtype=torch.float64),
    }
    lstm.load_state_dict(values)
    hidden, _ = lstm(encoder.embedding.detach()[tokens][None])
    moments: Tensor = encoder.moments_weight.detach() @ hidden[0].mean(0) + encoder.moments_bias.detach()
    return moments


def test_it_is_pytorchs_lstm_averaged_over_words() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    found = torch.cat(encoder(batch), dim=1)
    for row, length in enumerate(batch.lengths.tolist()):
        assert gap(found[row], _plain(encoder, batch.tokens[row, :length])) < 1e-12


def test_padding_says_nothing() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    tokens = batch.tokens.clone()
    tokens[3, 1:] = 7
    other = Batch(tokens, batch.lengths, batch.index)
    assert torch.equal(encoder(other).mean, encoder(batch).mean)


def test_gradients_reach_every_parameter() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    mean, log_variance = encoder(batch)
    (mean.sum() + 2 * log_variance.sum()).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_products_only(dtype: torch.dtype) -> None:
    exact, rounded = toy_encoder(), toy_encoder(dtype=torch.float32, compute_dtype=dtype)
    mean, log_variance = rounded(toy_batch(LENGTHS))
    assert mean.dtype == log_variance.dtype == torch.float32
    found = gap(mean, exact(toy_batch(LENGTHS)).mean)
    assert found < 1e-5 if dtype == torch.float32 else 1e-4 < found < 0.03


def _distribution(moments: Moments) -> Normal:
    return Normal(moments.mean, (0.5 * moments.log_variance).exp())


def test_a_draw_and_all_that_is_known_of_it() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    prior, generator = toy_prior(), toy_generator()
    result = Amortized(encoder)(batch, prior, generator, rng=seeded(5))
    moments = encoder(batch)
    assert gap(result.z, sample(moments, torch.randn(4, LATENT, generator=seeded(5)))) < 1e-6
    assert gap(result.start, moments.mean) == 0
    assert result.base_kl is not None
    assert gap(result.base_kl, base_kl(moments)) == 0
    gradients = torch.autograd.grad(result.z.sum(), [encoder.moments_weight, encoder.embedding])
    assert all(bool(g.any()) for g in gradients)


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    prior, generator, batch = toy_prior(), toy_generator(), toy_batch(LENGTHS)
    for infer in (Amortized(toy_encoder()), SemiAmortized(toy_encoder(), n_steps=3, step_size=0.3)):
        together = infer(batch, prior, generator, rng=KeyedRng(1, tuple(range(4)))).z
        for row in range(4):
            single = batch.select(torch.tensor([row]))
            alone = infer(single, prior, generator, rng=KeyedRng(1, (row,))).z
            assert gap(alone, together[row : row + 1]) < 1e-12


@pytest.mark.parametrize("free_bits", [FreeBits(), FreeBits(0.9), FreeBits(0.9, "total")])
def test_penalty_is_the_weighted_divergence_from_the_tilted_prior(free_bits: FreeBits) -> None:
    prior, batch = toy_prior(), toy_batch(LENGTHS)
    infer = Amortized(toy_encoder(), 0.3, free_bits)
    result = infer(batch, prior, toy_generator(), rng=seeded(5))
    assert result.base_kl is not None
    wanted = 0.3 * (free_bits(result.base_kl) - prior.neg_energy(result.z))
    assert gap(infer.penalty(result, prior), wanted) < 1e-14
    kl = float(result.base_kl.detach().sum(1).mean())
    assert infer.figures(result) == {"kl_weight": 0.3, "kl": pytest.approx(kl)}


def _one_dimension() -> tuple[LSTMEncoder, LSTMGenerator, Batch]:
    sizes: dict[str, Any] = {"latent_dim": 1, "embedding_dim": 2, "hidden_dim": 3, "init_range": 1.3}
    generator = LSTMGenerator(VOCABULARY, bos_id=BOS, rng=seeded(2), **sizes).double()
    encoder = LSTMEncoder(VOCABULARY, rng=seeded(3), **sizes).double()
    tokens, rows = torch.tensor([[4, 9, 6, 4, 3]]), 4000
    return encoder, generator, Batch(tokens.expand(rows, -1), torch.full((rows,), 5), torch.arange(rows))


@pytest.mark.parametrize("tilted", [False, True])
def test_the_evidence_bound_and_its_weights_agree_with_a_grid(tilted: bool) -> None:
    """E_q[p(x|z) exp(f(z)) p0(z) / q(z|x)] is p(x) Z, and log p(x|z) less the penalty lies below its logarithm."""
    encoder, generator, batch = _one_dimension()
    prior = EBMPrior(1, hidden_dim=4, init_range=1.0, rng=seeded(5)).double() if tilted else GaussianPrior(1)
    grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)
    infer = Amortized(encoder)
    with torch.no_grad():
        first = batch.select(torch.tensor([0]))
        joint = generator.likelihood(first)(grid.view(-1, 1, 1))[:, 0] + prior.logdensity(grid[:, None])
        truth = float(joint.logsumexp(0) + math.log(float(grid[1] - grid[0])))
        result = infer(batch, prior, generator, rng=seeded(1))
        log_q = _distribution(encoder(batch)).log_prob(result.z).sum(-1)  # type: ignore[no-untyped-call]
        assert result.base_kl is not None
        log_likelihood = generator.log_likelihood(batch, result.z)
        weights = log_likelihood + prior.logdensity(result.z) - log_q
        bound = log_likelihood - infer.penalty(result, prior)
        sampled = log_q - (prior.logdensity(result.z) - prior.neg_energy(result.z))
    n = len(weights)
    relative = (weights - weights.max()).exp()
    error = float(relative.std() / relative.mean()) / math.sqrt(n)
    assert error < 0.05
    assert abs(float(weights.logsumexp(0)) - math.log(n) - truth) < 4 * error
    assert float(bound.mean()) < truth - 4 * float(bound.std()) / math.sqrt(n)
    # The divergence in closed form is the mean of what it stands for.
    assert abs(float((sampled - result.base_kl.sum(1)).mean())) < 4 * float(sampled.std()) / math.sqrt(n)


@pytest.mark.parametrize("sizes", [0.3, [0.3, 0.2]])
def test_refinement_is_gradient_ascent_on_the_bound(sizes: float | list[float]) -> None:
    encoder, batch, generator, prior = toy_encoder(), toy_batch(LENGTHS), toy_generator(), toy_prior()
    infer = SemiAmortized(encoder, 0.6, FreeBits(0.9), n_steps=2, step_size=sizes)
    rng = seeded(3)
    mean, log_variance = (part.detach() for part in encoder(batch))
    for size in sizes if isinstance(sizes, list) else [sizes] * 2:
        noise = torch.randn(4, LATENT, generator=rng).double()
        mean, log_variance = mean.requires_grad_(), log_variance.requires_grad_()
        z = mean + (0.5 * log_variance).exp() * noise
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        bound = generator.log_likelihood(batch, z) - 0.6 * (kl.clamp_min(0.3).sum(1) - prior.neg_energy(z))
        of_mean, of_log_variance = torch.autograd.grad(bound.sum(), [mean, log_variance])
        step = size**2 / 2
        mean, log_variance = (mean + step * of_mean).detach(), (log_variance + step * of_log_variance).detach()
    result = infer(batch, prior, generator, rng=seeded(3))
    assert gap(result.start, mean) < 1e-12
    assert gap(result.start, encoder(batch).mean) > 1e-3
    assert result.base_kl is not None
    assert gap(result.base_kl, base_kl(Moments(mean, log_variance))) < 1e-12
    for module in (prior, generator, encoder):
        assert all(parameter.grad is None for parameter in module.parameters())


def test_refinement_raises_the_bound_and_hands_its_gradient_to_the_encoder() -> None:
    encoder, batch, generator, prior = toy_encoder(), toy_batch(LENGTHS), toy_generator(), GaussianPrior(LATENT)

    def bound(moments: Moments) -> Tensor:
        noise = normal(2000, 4, LATENT, seed=8)
        z = moments.mean + (0.5 * moments.log_variance).exp() * noise
        with torch.no_grad():
            return generator.likelihood(batch)(z).mean(0) - base_kl(moments).sum(1)

    infer = SemiAmortized(encoder, n_steps=30, step_size=0.4)
    own, refined = encoder(batch), infer.moments(batch, prior, generator, rng=seeded(1))
    assert bool((bound(Moments(*refined)) > bound(own) + 0.02).all())

    direction = normal(4, LATENT, seed=4)
    found = torch.autograd.grad((refined.mean * direction).sum(), list(encoder.parameters()))
    wanted = torch.autograd.grad((own.mean * direction).sum(), list(encoder.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))


def test_refinement_works_where_gradients_are_off() -> None:
    infer = SemiAmortized(toy_encoder(), n_steps=2, step_size=0.3)
    batch, prior, generator = toy_batch(LENGTHS), toy_prior(), toy_generator()
    with torch.no_grad():
        quiet = infer(batch, prior, generator, rng=seeded(1)).z
    assert not quiet.requires_grad
    assert torch.equal(quiet, infer(batch, prior, generator, rng=seeded(1)).z)
