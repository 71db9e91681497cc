"""One learner: its losses have the gradients they should, its update is Algorithm 1, its state is complete."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_inference, prior_chain
from lebm_text.inference.short_run import ShortRun
from lebm_text.models.priors import EBMPrior
from lebm_text.random import stream
from lebm_text.sections import MOST_HALVINGS
from lebm_text.text.batching import Batch, BatchPlan
from lebm_text.training import trainer as trainers
from lebm_text.training.trainer import CHECK_EVERY, Trainer, generator_loss, prior_loss

from ..toy import (
    LATENT,
    Mixture,
    differing,
    gap,
    normal,
    seeded,
    toy_batch,
    toy_config,
    toy_corpus,
    toy_generator,
    toy_prior,
    toy_trainer,
    updated,
    weights_of,
)

N = 12
MEAN = 5.5


def _trainer(**changes: dict[str, Any]) -> Trainer:
    return toy_trainer(toy_config(changes), mean_batch_size=MEAN)


def _batches() -> list[Batch]:
    corpus = toy_corpus([5, 3, 4, 2, 6, 1, 3, 3, 7, 2, 4, 5])
    return [corpus.batch(index) for index in _three_of_four()]


def _three_of_four() -> list[Any]:
    return list(torch.arange(N).view(3, 4).numpy())


def test_update_is_algorithm_1() -> None:
    """Both chains from the noise stream, both losses, clipping, Adam: written out once more."""
    changes = {
        "model": {"dropout": 0.3},
        "training": {"clip_norm": 0.05, "prior_clip_norm": 0.01, "prior_weight_decay": 0.2},
    }
    trainer, batch = _trainer(**changes), toy_batch([6, 4, 4, 1])
    config, model = trainer.config, _trainer(**changes).model
    noise = stream(config.training.seed, "chains")
    chain = build_inference(config.inference, epoch=0.7)
    positive = chain(batch, model.prior, model.generator, rng=noise).z
    negative = model.prior.sample(4, noise)
    dropout = stream(config.training.seed, "dropout")
    log_likelihood = model.generator.log_likelihood(batch, positive, rng=dropout)
    torch.autograd.backward(generator_loss(log_likelihood, MEAN))
    torch.autograd.backward(prior_loss(model.prior, positive, negative, MEAN))
    for module, limit, rate, decay in ((model.generator, 0.05, 0.01, 0.0), (model.prior, 0.01, 0.01, 0.2)):
        parameters = list(module.parameters())
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        assert norm > limit
        torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True).step()

    figures = updated(trainer, batch, epoch=0.7, step=1)
    assert differing(weights_of(trainer.model), weights_of(model)) == set()
    assert figures["nll_token"] == pytest.approx(-float(log_likelihood.detach().sum()) / batch.n_tokens)
    assert figures["gap"] == pytest.approx(figures["f_positive"] - figures["f_negative"])
    assert isinstance(chain, ShortRun)
    assert figures["likelihood_weight"] == chain.likelihood_weight
    assert figures["grad_generator"] > 0.05  # before clipping


@pytest.mark.parametrize("prior", ["ebm", "gaussian"])
def test_update_with_an_encoder_is_the_evidence_bounds_and_the_contrastive_one(prior: str) -> None:
    """Encoder and generator by −log p(x|z) + β (KL' − f(z)), the prior by the phases alone: written out once more."""
    inference = {"kind": "amortized", "kl_weight": 0.7, "free_bits": 0.15}
    changes: dict[str, dict[str, Any]] = {"model": {"prior": prior, "dropout": 0.3}, "inference": inference}
    trainer, batch = _trainer(**changes), toy_batch([6, 4, 4, 1])
    config, model = trainer.config, _trainer(**changes).model
    assert model.encoder is not None
    noise = stream(config.training.seed, "chains")
    moments = model.encoder(batch)
    epsilon = torch.randn(4, LATENT, generator=noise)
    positive = moments.mean + (0.5 * moments.log_variance).exp() * epsilon
    negative = model.prior.sample(4, noise)
    log_likelihood = model.generator.log_likelihood(batch, positive, rng=stream(config.training.seed, "dropout"))
    kl = 0.5 * (moments.mean**2 + moments.log_variance.exp() - 1 - moments.log_variance)
    penalty = 0.7 * (kl.clamp_min(0.05).sum(1) - model.prior.neg_energy(positive))
    assert 0 < int((kl < 0.05).sum()) < kl.numel()
    loss = -(log_likelihood - penalty).sum() / MEAN
    groups = [list(model.generator.parameters()), list(model.encoder.parameters())]
    gradients = [list(torch.autograd.grad(loss, group, retain_graph=True)) for group in groups]
    if prior == "ebm":
        groups.append(list(model.prior.parameters()))
        contrast = prior_loss(model.prior, positive.detach(), negative, MEAN)
        gradients.append(list(torch.autograd.grad(contrast, groups[-1], allow_unused=True)))
    for number, (group, gradient) in enumerate(zip(groups, gradients, strict=True)):
        for parameter, value in zip(group, gradient, strict=True):
            parameter.grad = value
        torch.nn.utils.clip_grad_norm_(group, config.training.clip_norm if number < 2 else 1.0)
        torch.optim.Adam(group, lr=0.01, weight_decay=0.0 if number < 2 else 1e-3, fused=True).step()

    figures = updated(trainer, batch, epoch=0.7, step=1)
    for name, value in weights_of(trainer.model).items():
        assert gap(value, model.state_dict()[name]) < 1e-6, name
    assert figures["kl"] == pytest.approx(float(kl.detach().sum(1).mean()), rel=1e-5)
    assert figures["kl_weight"] == 0.7


def test_after_pretraining_the_encoder_stays_and_the_generator_begins_anew() -> None:
    inference = {"kind": "amortized", "pretrain_epochs": 1, "kl_weight_start": 0.5}
    trainer, batches = _trainer(inference=inference, training={"learning_rate_decay": 0.4}), _batches()
    first = weights_of(trainer.model)
    figures = [updated(trainer, batch, epoch=step / 3, step=step + 1) for step, batch in enumerate(batches)]
    assert {f["kl_weight"] for f in figures} == {0.0}
    before = weights_of(trainer.model)
    assert not [name for name in differing(first, before) if name.startswith("prior.")]
    trainer.end_epoch()
    seen: list[dict[str, Tensor]] = []

    def watch(epoch: float) -> Any:
        seen.append(weights_of(trainer.model))
        return infer(epoch)

    infer = trainer.inference
    trainer.inference = watch  # type: ignore[method-assign]
    assert updated(trainer, batches[0], epoch=1.0, step=4)["kl_weight"] == 0.5
    updated(trainer, batches[1], epoch=4 / 3, step=5)
    anew, later = seen
    generator = {name for name in first if name.startswith("generator.")}
    assert differing(before, anew) == generator
    assert differing(first, anew) >= generator  # nor is it the one that was drawn first
    moved = [gap(later[name], anew[name]) for name in generator]
    # The first step of a new Adam has the learning rate's length, and that has decayed once.
    assert max(moved) == pytest.approx(0.01 * 0.4, rel=1e-3)
    assert any(name.startswith("prior.") for name in differing(anew, later))


def test_a_language_model_learns_log_p_of_x() -> None:
    trainer, batch = _trainer(model={"latent_dim": 0}), toy_batch([6, 4, 4, 1])
    chains = trainer.noise.get_state()
    losses = [updated(trainer, batch, epoch=0.0, step=step, report=True) for step in range(1, 41)]
    assert set(losses[0]) == {"nll_token", "grad_generator"}
    assert losses[-1]["nll_token"] < 0.9 * losses[0]["nll_token"]
    assert torch.equal(trainer.noise.get_state(), chains)


def test_updates_raise_the_likelihood() -> None:
    trainer, batch = _trainer(), toy_batch([6, 4, 4, 1])
    losses = [updated(trainer, batch, epoch=0.0, step=step)["nll_token"] for step in range(1, 41)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_prior_waits_for_its_start() -> None:
    trainer = _trainer(training={"prior_start_epoch": 1.0})
    before = weights_of(trainer.model)
    updated(trainer, _batches()[0], epoch=0.99, step=1)
    changed = differing(before, weights_of(trainer.model))
    assert changed
    assert all(name.startswith("generator.") for name in changed)
    updated(trainer, _batches()[1], epoch=1.0, step=2)
    assert any(name.startswith("prior.") for name in differing(before, weights_of(trainer.model)))


def test_gaussian_prior_has_nothing_to_learn() -> None:
    trainer = _trainer(model={"prior": "gaussian"})
    assert set(trainer.optimizers) == {"generator"}
    figures = updated(trainer, _batches()[0], epoch=0.0, step=1, report=True)
    assert figures["gap"] == figures["move_negative"] == 0
    assert "grad_prior" not in figures
    assert "curvature_posterior" in figures
    assert "curvature_prior" not in figures  # it has no chain whose step could be too long


def test_any_prior_with_parameters_learns_them() -> None:
    """Its maximum-likelihood gradient with z⁺ given, less noise of mean 0; nothing trains with frozen parameters."""
    trainer = _trainer()
    model = LatentModel(Mixture(LATENT), trainer.model.generator)
    trainer = Trainer(model, trainer.config, n_sentences=N, mean_batch_size=MEAN)
    before = weights_of(model)
    figures = updated(trainer, _batches()[0], epoch=0.0, step=1, report=True)
    assert "prior.means" in differing(before, weights_of(model))
    assert figures["grad_prior"] > 0
    assert "curvature_prior" not in figures
    model.prior.requires_grad_(False)  # type: ignore[attr-defined]
    assert "prior" not in Trainer(model, trainer.config, n_sentences=N, mean_batch_size=MEAN).optimizers


def test_a_batch_of_one() -> None:
    trainer = _trainer()
    figures = updated(trainer, toy_batch([5]), epoch=0.0, step=1, report=True)
    assert not {"std_positive", "std_negative", "nll_shuffled"} & set(figures)  # these need another sentence
    assert {"nll_posterior", "nll_prior", "curvature_posterior"} <= set(figures)


def test_a_probe_changes_nothing_that_is_learned() -> None:
    one, two = _trainer(model={"dropout": 0.3}), _trainer(model={"dropout": 0.3})
    for step, batch in enumerate(_batches(), 1):
        plain = updated(one, batch, epoch=0.0, step=step)
        probed = updated(two, batch, epoch=0.0, step=step, report=True)
        assert plain.items() <= probed.items()
        assert {"nll_posterior", "nll_shuffled", "curvature_prior"} <= set(probed) - set(plain)
    assert differing(weights_of(one.model), weights_of(two.model)) == set()


def test_global_randomness_is_neither_used_nor_changed() -> None:
    results = []
    for seed in (1, 2):
        trainer = _trainer(model={"dropout": 0.3}, inference={"persistent": True})
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        updated(trainer, _batches()[0], epoch=0.0, step=1, report=True)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(weights_of(trainer.model))
    assert differing(*results) == set()


def test_on_another_kind_of_device_masks_begin_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Whose streams have states of another size."""
    one, two = (_trainer(model={"dropout": 0.3}) for _ in range(2))
    updated(one, _batches()[0], epoch=0.0, step=1)
    tensors, skeleton = one.state()
    (name,) = [name for name, state in tensors.items() if torch.equal(state, one.dropout.get_state())]
    two.load_state({**tensors, name: torch.zeros(16, dtype=torch.uint8)}, skeleton)
    assert "masks of dropout begin anew" in caplog.text
    assert differing(weights_of(one.model), weights_of(two.model)) == set()
    updated(two, _batches()[1], epoch=0.0, step=2)


def test_persistent_chains_go_on_where_their_sentence_was_left() -> None:
    trainer = _trainer(inference={"persistent": True})
    assert trainer.memory is not None
    assert trainer.memory.shape == (N, LATENT)
    start = trainer.memory.clone()
    first, second, _ = _batches()
    updated(trainer, first, epoch=0.0, step=1)
    visited = trainer.memory.clone()
    assert bool((visited[first.index] != start[first.index]).all())
    assert torch.equal(visited[second.index], start[second.index])
    figures = updated(trainer, first, epoch=0.0, step=2)
    moved = (trainer.memory[first.index] - visited[first.index]).norm(dim=1).mean()
    assert figures["move_positive"] == pytest.approx(float(moved), rel=1e-5)


@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_found_and_no_parameter_moves(damage: float) -> None:
    trainer = _trainer()
    with torch.no_grad():
        trainer.model.get_parameter("generator.output_bias")[4] = damage
    before = weights_of(trainer.model)
    for step, batch in enumerate(_batches(), 7):
        trainer.update(batch, epoch=0.0, step=step)
    with pytest.raises(FloatingPointError, match="step 7"):
        trainer.monitor.collect()
    after = weights_of(trainer.model)
    assert all(torch.equal(before[name], after[name]) or before[name].isnan().any() for name in before)


def test_after_numbers_that_are_not_finite_nothing_moves_again() -> None:
    """The run stops when somebody looks; until then it keeps the parameters of before."""
    trainer = _trainer()
    bias = trainer.model.get_parameter("generator.output_bias").detach()
    kept = bias.clone()
    trainer.update(_batches()[0], epoch=0.0, step=1)
    trainer.monitor.collect()
    assert not torch.equal(bias, kept)
    before = weights_of(trainer.model)
    bias[4] = float("nan")
    trainer.update(_batches()[1], epoch=0.0, step=2)
    bias.copy_(before["generator.output_bias"])
    trainer.update(_batches()[2], epoch=0.0, step=3)
    assert differing(before, weights_of(trainer.model)) == set()
    with pytest.raises(FloatingPointError, match="step 2"):
        trainer.monitor.flush()


def test_learning_rates_decay_with_the_epochs() -> None:
    trainer = _trainer(training={"learning_rate_decay": 0.5, "prior_learning_rate": 0.08})
    trainer.end_epoch()
    trainer.end_epoch()
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in trainer.optimizers.items()}
    assert rates == pytest.approx({"generator": 0.0025, "prior": 0.02})


@pytest.mark.parametrize("prior", ["ebm", "gaussian"])
@pytest.mark.parametrize("persistent", [False, True])
def test_state_is_all_that_the_next_updates_depend_on(prior: str, persistent: bool) -> None:
    changes: dict[str, dict[str, Any]] = {
        "model": {"prior": prior, "dropout": 0.3},
        "inference": {"persistent": persistent},
        "training": {"learning_rate_decay": 0.5},
    }
    trainer = _trainer(**changes)
    batches = _batches()
    for step, batch in enumerate(batches, 1):
        updated(trainer, batch, epoch=0.0, step=step)
    trainer.end_epoch()
    tensors, skeleton = trainer.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}

    other = _trainer(**changes)
    updated(other, batches[1], epoch=0.0, step=1)  # whatever it was before
    other.load_state(tensors, skeleton)
    for step, batch in enumerate(batches, 4):
        mine = updated(trainer, batch, epoch=1.2, step=step, report=True)
        assert updated(other, batch, epoch=1.2, step=step, report=True) == mine
    assert differing(weights_of(trainer.model), weights_of(other.model)) == set()
    if persistent:
        assert trainer.memory is not None
        assert other.memory is not None
        assert gap(trainer.memory, other.memory) == 0


def test_generator_loss_is_the_formula() -> None:
    values = normal(5)
    assert gap(generator_loss(values, 2.5), -values.sum() / 2.5) < 1e-15


def test_prior_loss_is_the_formula() -> None:
    prior, positive, negative = toy_prior(), normal(5, LATENT, seed=1), normal(5, LATENT, seed=2)
    f_positive, f_negative = prior.neg_energy(positive), prior.neg_energy(negative)
    assert gap(prior_loss(prior, positive, negative, 2.5), (f_negative - f_positive).sum() / 2.5) < 1e-14
    assert gap(f_positive.sum(), f_negative.sum()) > 1e-3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ebm_gradient_is_the_difference_of_expectations(seed: int) -> None:
    """∂/∂α of mean log p_α(z⁺), log Z by quadrature, against the loss with z⁻ at the quantiles of p_α.

    The quantiles' midpoint rule over M points is off by far less than 1/M of the gradient's range.
    """
    m = 4000
    prior = EBMPrior(1, hidden_dim=5, init_range=1.0, rng=seeded(seed)).double()
    positive = normal(m, 1, seed=seed) * 0.5 + 1
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    spacing = float(grid[1] - grid[0])

    log_z = prior.logdensity(grid[:, None]).logsumexp(0) + torch.tensor(spacing).log()
    log_likelihood = prior.logdensity(positive).mean() - log_z
    wanted = torch.autograd.grad(log_likelihood, list(prior.parameters()))

    with torch.no_grad():
        cumulative = (prior.logdensity(grid[:, None]).softmax(0)).cumsum(0)
    at = torch.searchsorted(cumulative, (torch.arange(m, dtype=torch.float64) + 0.5) / m).clamp_max(len(grid) - 1)
    negative = grid[at, None]
    found = torch.autograd.grad(-prior_loss(prior, positive, negative, m), list(prior.parameters()), allow_unused=True)
    for name, mine, theirs in zip(dict(prior.named_parameters()), found, wanted, strict=True):
        assert gap(torch.zeros_like(theirs) if mine is None else mine, theirs) < 2e-3, name
    assert max(float(g.abs().max()) for g in wanted) > 0.05


def test_expected_gradient_of_an_epoch_is_that_of_the_corpus() -> None:
    """The mean over batches of a batch's gradient, each divided by the mean batch size, is Σ_i ∇ log p(x_i) / N."""
    lengths = [1, 2, 2, 3, 5, 5, 6, 9, 9, 9, 9, 12, 12]
    corpus, generator = toy_corpus(lengths), toy_generator()
    plan = BatchPlan(corpus, batch_size=4, batch_tokens=24, seed=3)
    z, parameters = normal(len(lengths), LATENT), list(generator.parameters())

    def gradient(of: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(of, parameters)])

    sizes, steps = [], []
    for index in plan.epoch(0):
        batch = corpus.batch(index)
        sizes.append(len(index))
        steps.append(gradient(generator_loss(generator.log_likelihood(batch, z[batch.index]), plan.mean_batch_size)))
    assert len(set(sizes)) > 1  # else every divisor would do
    whole = corpus.batch(np.arange(len(lengths)))
    wanted = gradient(-generator.log_likelihood(whole, z[whole.index]).mean())
    assert gap(torch.stack(steps).mean(0), wanted) < 1e-12


def _steep(factor: float, **changes: dict[str, Any]) -> Trainer:
    """A trainer whose f has been multiplied: with a factor of 200 its curvature is far too large for steps of 0.5."""
    trainer = _trainer(**changes)
    with torch.no_grad():
        trainer.model.get_parameter("prior.layers.2.weight").mul_(factor)
    return trainer


@pytest.mark.parametrize(("factor", "halvings"), [(1.0, 0), (200.0, 1)])
def test_the_prior_chains_step_is_halved_where_it_is_too_long_for_f(factor: float, halvings: int) -> None:
    trainer, (batch, *_) = _steep(factor), _batches()
    updated(trainer, batch, epoch=0.0, step=CHECK_EVERY - 1)
    assert trainer.halvings == 0
    trainer.update(batch, epoch=0.0, step=CHECK_EVERY)
    assert trainer.halvings == halvings
    chain = trainer.model.prior.chain
    assert chain == prior_chain(trainer.config.prior.finer(halvings))
    assert (chain.n_steps, chain.largest_step) == ((3, 0.5), (6, 0.25))[halvings]


def test_a_look_at_the_step_changes_nothing_while_it_is_short_enough() -> None:
    trainers = [_trainer(), _trainer()]
    for trainer, steps in zip(
        trainers, ((CHECK_EVERY - 1, CHECK_EVERY + 1), (CHECK_EVERY, 2 * CHECK_EVERY)), strict=True
    ):
        for step, batch in zip(steps, _batches(), strict=False):
            trainer.update(batch, epoch=0.0, step=step)
    assert differing(*(weights_of(trainer.model) for trainer in trainers)) == set()


def test_a_resumed_trainer_has_the_halved_step_and_goes_on_alike() -> None:
    trainer, (first, second, _) = _steep(200.0), _batches()
    trainer.update(first, epoch=0.0, step=CHECK_EVERY)
    again = _trainer()
    tensors, skeleton = trainer.state()
    again.load_state({name: tensor.clone() for name, tensor in tensors.items()}, skeleton)
    assert again.model.prior.chain == trainer.model.prior.chain
    for each in (trainer, again):
        each.update(second, epoch=0.0, step=CHECK_EVERY + 1)
    assert differing(weights_of(trainer.model), weights_of(again.model)) == set()


def test_halving_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "LONG_STEP", 0.0)
    trainer, (batch, *_) = _trainer(), _batches()
    for i in range(MOST_HALVINGS + 2):
        trainer.update(batch, epoch=0.0, step=CHECK_EVERY * (i + 1))
    assert trainer.halvings == MOST_HALVINGS


def test_a_chain_that_is_not_the_configured_one_is_left_alone() -> None:
    trainer, (batch, *_) = _steep(200.0), _batches()
    own = prior_chain(trainer.config.prior.finer(1))
    trainer.model.prior.chain = own  # type: ignore[misc]
    trainer.update(batch, epoch=0.0, step=CHECK_EVERY)
    assert (trainer.halvings, trainer.model.prior.chain) == (0, own)
