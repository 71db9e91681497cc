"""The plain model is the same model: given the generator's weights it computes the generator's numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.ablation import Ablated
from benchmarks.baseline import PlainGenerator, PlainTrainer, posterior_chain, sample_ids
from lebm_text.inference.short_run import ShortRun
from lebm_text.sections import ShortRunConfig

from ..lebm_text.toy import BOS, EOS, VOCABULARY, gap, normal, seeded, toy_batch, toy_config, toy_generator, toy_prior

LENGTHS = (5, 4, 4, 1)


@pytest.mark.parametrize("options", [{}, {"tied": True, "embedding_dim": 6}], ids=["untied", "tied"])
def test_same_log_likelihood_and_gradient_in_z(options: dict[str, Any]) -> None:
    generator, batch = toy_generator(**options), toy_batch(LENGTHS)
    plain = PlainGenerator.like(generator)
    z = normal(len(LENGTHS), 3).requires_grad_()
    ours, theirs = generator.likelihood(batch)(z), plain.log_likelihood(batch, z)
    assert gap(ours, theirs) < 1e-12
    (found,) = torch.autograd.grad(ours.sum(), z)
    (wanted,) = torch.autograd.grad(theirs.sum(), z)
    assert float(wanted.norm()) > 0.1
    assert gap(found, wanted) < 1e-12


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("softmax", [False, True])
def test_ablated_parts_compute_the_same(scan: bool, softmax: bool) -> None:
    ours = toy_generator()
    ablated = Ablated(VOCABULARY, bos_id=BOS, latent_dim=3, embedding_dim=5, hidden_dim=6, rng=seeded()).double()
    ablated.load_state_dict(ours.state_dict())
    ablated.scan, ablated.softmax = scan, softmax
    assert ablated.weights().library != scan
    z, batch = normal(len(LENGTHS), 3), toy_batch(LENGTHS)
    for make in (Ablated.log_likelihood, lambda generator, batch, z: generator.likelihood(batch)(z)):
        assert gap(make(ablated, batch, z), make(ours, batch, z)) < 1e-12


@pytest.mark.parametrize("through_everything", [False, True])
def test_same_posterior_chain(through_everything: bool) -> None:
    """Both draw the start and then one noise a step from their stream."""
    generator, prior, batch = toy_generator(dtype=torch.float32), toy_prior(dtype=torch.float32), toy_batch(LENGTHS)
    config = toy_config({"inference": {"likelihood_weight": 2.0, "noise_scale": 0.7}}).inference
    assert isinstance(config, ShortRunConfig)
    ours = ShortRun(config.n_steps, config.step_size, config.noise_scale, config.likelihood_weight)(
        batch, prior, generator, rng=seeded(3)
    )
    plain = PlainGenerator.like(generator)
    z = posterior_chain(plain, prior, batch, config, through_everything=through_everything, rng=seeded(3))
    assert gap(z, ours.z) < 1e-5
    assert gap(z, ours.start) > 0.1
    assert (plain.output.weight.grad is not None) == through_everything


def test_update_moves_both_models() -> None:
    generator, prior = toy_generator(dtype=torch.float32, dropout=0.2), toy_prior(dtype=torch.float32)
    plain = PlainGenerator.like(generator)
    parameters = [*plain.parameters(), *list(prior.parameters())[:-1]]  # f's last bias is the same in both phases
    before = [p.detach().clone() for p in parameters]
    PlainTrainer(plain, prior, toy_config()).update(toy_batch((6,) * 30))
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


def test_samples_follow_the_model() -> None:
    """First words of many samples at one z, against the probabilities that scoring gives them."""
    plain, n = PlainGenerator.like(toy_generator()), 4000
    z = normal(1, 3).expand(n, 3)
    ids = sample_ids(plain, z, eos_id=EOS, max_length=6, rng=seeded(5))
    assert ids.shape[0] == n
    assert ids.shape[1] <= 7
    batch = toy_batch((1,))
    p = float(plain.log_likelihood(batch, z[:1]).detach().exp())
    share = float((ids[:, 0] == EOS).double().mean())
    assert abs(share - p) < 4 * (p * (1 - p) / n) ** 0.5
