"""The prior with classes: its energies against the written formulas, and what a label changes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lebm_text.errors import InputError
from lebm_text.inference.short_run import LangevinChain
from lebm_text.models.classes import UNKNOWN, ClassPrior, class_of, classes_of
from lebm_text.models.priors import GaussianPrior, base_log_prob
from lebm_text.training.trainer import prior_loss

from ..toy import LATENT, gap, normal, seeded

LABELS = ("bad", "fair", "good")


def _prior(chain: LangevinChain | None = None) -> ClassPrior:
    prior = ClassPrior(LATENT, labels=LABELS, hidden_dim=7, init_range=0.8, chain=chain, rng=seeded(1))
    return prior.double()


@pytest.mark.parametrize("axes", [(5,), (2, 4), ()])
def test_the_energy_sums_over_classes(axes: tuple[int, ...]) -> None:
    prior, z = _prior(), normal(*axes, LATENT)
    energies = prior.outputs(z)
    assert energies.shape == (*axes, 3)
    assert gap(prior.neg_energy(z), energies.exp().sum(-1).log()) < 1e-12
    assert gap(prior.class_log_probs(z).exp().sum(-1), torch.ones(axes, dtype=torch.float64)) < 1e-12
    assert gap(prior.logdensity(z), prior.neg_energy(z) + base_log_prob(z)) < 1e-12


def test_sizes_the_bound_of_each_energy_and_the_initial_range_are_those_asked_for() -> None:
    prior = ClassPrior(LATENT, labels=LABELS, hidden_dim=7, energy_bound=0.3, init_range=2.0, rng=seeded(1)).double()
    weights = [prior.get_parameter(f"layers.{i}.weight").detach() for i in range(3)]
    assert [weight.shape for weight in weights] == [(7, LATENT), (7, 7), (3, 7)]
    assert all(1 < float(weight.abs().max()) <= 2 for weight in weights)
    assert 0.29 < float(prior.outputs(3 * normal(200, LATENT)).detach().abs().max()) <= 0.3


def test_the_slope_of_the_sum_is_the_mean_of_the_classes_slopes() -> None:
    """∇ log Σ_y exp f(z, y) = Σ_y p(y|z) ∇ f(z, y), in z and in the parameters."""
    prior, z = _prior(), normal(6, LATENT).requires_grad_()
    leaves = [z, *prior.parameters()]
    found = torch.autograd.grad(prior.neg_energy(z).sum(), leaves)
    weights = prior.class_log_probs(z).exp().detach()
    wanted = torch.autograd.grad((weights * prior.outputs(z)).sum(), leaves)
    assert max(gap(a, b) for a, b in zip(found, wanted, strict=True)) < 1e-12


def test_a_label_picks_its_energy_and_none_leaves_the_sum() -> None:
    prior, z = _prior(), normal(2, 3, LATENT)
    given = prior.given(torch.tensor([2, UNKNOWN, 0]))
    wanted = prior.outputs(z)[..., 2].clone(), prior.neg_energy(z), prior.outputs(z)[..., 0]
    assert gap(given.neg_energy(z), torch.stack([w[:, i] for i, w in enumerate(wanted)], 1)) < 1e-12
    assert gap(given.logdensity(z), given.neg_energy(z) + base_log_prob(z)) < 1e-12
    # log p(z, y) = log p(z) + log p(y|z)
    joint = prior.neg_energy(z)[:, 0] + prior.class_log_probs(z)[:, 0, 2]
    assert gap(given.neg_energy(z)[:, 0], joint) < 1e-12


def test_labels_add_their_cross_entropy_to_the_loss() -> None:
    prior, positive, negative = _prior(), normal(5, LATENT, seed=1), normal(5, LATENT, seed=2)
    labels = torch.tensor([0, 1, UNKNOWN, 2, 1])
    told = labels != UNKNOWN
    plain = prior_loss(prior, positive, negative, 4.0)
    entropy = F.cross_entropy(prior.outputs(positive)[told], labels[told], reduction="sum")
    assert gap(prior_loss(prior, positive, negative, 4.0, prior.given(labels)), plain + entropy / 4.0) < 1e-12


def test_a_class_is_drawn_by_its_own_chain() -> None:
    """With f(z, y) = m_y · z the chain of y ends at the law of a chain on N(m_y, I), far from the other classes."""
    prior = ClassPrior(2, labels=("left", "right"), hidden_dim=2, chain=LangevinChain(60, 0.5), rng=seeded(3))
    far = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    prior.outputs = lambda z: z @ far.T  # type: ignore[method-assign]
    n = 4000
    for number, label in enumerate(prior.labels):
        z = class_of(prior, label).sample(n, seeded(4))
        # The stationary variance of a chain on N(m, I) is 1 / (1 − s²/4).
        assert float((z.mean(0) - far[number]).abs().max()) < 4 * math.sqrt(1 / (1 - 0.25 / 4) / n)
        assert float((prior.class_log_probs(z).argmax(-1) == number).float().mean()) > 0.95


def test_one_class_does_not_depend_on_the_others_rows() -> None:
    prior = _prior(LangevinChain(5, 0.3))
    z = normal(4, LATENT)
    alone = prior.given(torch.tensor([1])).neg_energy(z[2:3])
    assert gap(prior.given(torch.tensor([0, 0, 1, UNKNOWN])).neg_energy(z)[2:3], alone) < 1e-12


def test_what_has_no_classes_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^this model has no classes; model.prior=classes trains one"):
        classes_of(GaussianPrior(2))
    with pytest.raises(InputError, match=r"^the model has no label 'worse'; its labels are: 'bad', 'fair', 'good'$"):
        class_of(_prior(), "worse")
    with pytest.raises(InputError, match=r"prior\.labels"):
        ClassPrior(2, labels=None, rng=seeded())
    with pytest.raises(ValueError, match="without a chain"):
        class_of(_prior(), "bad").sample(1, seeded())
