"""The normal q(z|x) of variational inference: PyTorch's densities, and free bits by hand."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lebm_text.inference.base import Moments
from lebm_text.inference.local import Local
from lebm_text.inference.variational import FreeBits, base_kl, sample

from ..toy import LATENT, gap, normal, toy_prior

MOMENTS = Moments(normal(4, LATENT, seed=1), normal(4, LATENT, seed=2))


def test_divergence_and_draws_are_those_of_a_normal_distribution() -> None:
    q = Normal(MOMENTS.mean, (0.5 * MOMENTS.log_variance).exp())
    standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    assert gap(base_kl(MOMENTS), kl_divergence(q, standard)) < 1e-12
    noise = normal(4, LATENT, seed=4)
    assert gap(sample(MOMENTS, noise), q.mean + q.stddev * noise) < 1e-12


def test_what_a_posterior_approximates_is_the_joint_density() -> None:
    prior, z = toy_prior(), normal(4, LATENT)
    target = Local(n_steps=3, learning_rate=0.1, kl_weight=0.5).target(prior, lambda z: 3 * z.sum(-1))
    assert gap(target(z), prior.logdensity(z) + 3 * z.sum(-1)) < 1e-12


def test_free_bits_by_hand() -> None:
    kl = torch.tensor([[0.1, 0.5, 0.9], [0.0, 0.1, 0.2]], requires_grad=True)
    assert FreeBits(1.2)(kl).tolist() == pytest.approx([0.4 + 0.5 + 0.9, 1.2])
    (gradient,) = torch.autograd.grad(FreeBits(1.2)(kl).sum(), kl)
    assert gradient.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert FreeBits(1.2, "total")(kl).tolist() == pytest.approx([1.5, 1.2])
    (gradient,) = torch.autograd.grad(FreeBits(1.2, "total")(kl).sum(), kl)
    assert gradient.tolist() == [[1, 1, 1], [0, 0, 0]]
    for kind in ("dimension", "total"):  # none free: the divergence itself
        assert FreeBits(0.0, kind)(kl).tolist() == pytest.approx([1.5, 0.3])
