"""From configuration to modules: every size arrives, every anneal is applied, the prior is sampled as it should."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.build import build_inference, geometric, linear
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.inference.base import NoLatent
from lebm_text.inference.encoder import Amortized, SemiAmortized
from lebm_text.inference.local import Local
from lebm_text.inference.short_run import ShortRun
from lebm_text.inference.variational import FreeBits
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.random import KeyedRng
from lebm_text.samplers.langevin import langevin
from lebm_text.sections import ShortRunConfig

from .toy import LATENT, Mixture, gap, normal, plugged_model, seeded, toy_config, toy_model, toy_prior


def _build(*, inference: dict[str, Any] | None = None, **model: Any) -> Any:
    return toy_model(toy_config({"model": model, "inference": inference or {}}))


@pytest.mark.parametrize(
    ("changes", "name", "shape"),
    [
        ({}, "generator.embedding", (12, 6)),
        ({"embedding_dim": 4}, "generator.token_weight", (24, 4)),
        ({"hidden_dim": 5}, "generator.recurrent_weight", (20, 5)),
        ({"latent_dim": 2}, "generator.latent_weight", (24, 2)),
        ({"latent_dim": 2}, "prior.layers.0.weight", (5, 2)),
        ({"prior_hidden_dim": 8}, "prior.layers.1.weight", (8, 8)),
        ({}, "generator.output_weight", (12, 6)),
    ],
)
def test_sizes(changes: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    assert tuple(_build(**changes).state_dict()[name].shape) == shape


def test_everything_else_of_the_model() -> None:
    model = _build(tied=True, dropout=0.35, energy_bound=2.5, init_range=0.03)
    assert model.generator.output_weight is None
    assert model.generator.dropout == 0.35
    assert model.generator.bos_id == 2
    assert model.prior.energy_bound == 2.5
    largest = max(float(p.detach().abs().max()) for p in model.parameters())
    assert 0.02 < largest <= 0.03
    assert isinstance(_build(prior="gaussian").prior, GaussianPrior)
    assert isinstance(_build().prior, EBMPrior)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_products_only(precision: str, dtype: torch.dtype) -> None:
    config = toy_config({"training": {"precision": precision}})
    model = toy_model(config)
    assert isinstance(model.generator, LSTMGenerator)
    assert model.generator.compute_dtype == dtype
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_initial_weights_follow_the_stream() -> None:
    one, two = _build(), _build()
    other = toy_model(toy_config(), seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("epoch", "noise", "weight"), [(0.0, 0.2, 16.0), (1.5, 0.6, 4.0), (3.0, 1.0, 1.0), (50.0, 1.0, 1.0)]
)
def test_anneals(epoch: float, noise: float, weight: float) -> None:
    """Noise along a line, the likelihood's weight along equal ratios, both over anneal_epochs."""
    config = ShortRunConfig(noise_scale_start=0.2, likelihood_weight_start=16.0, anneal_epochs=3.0)
    chain = build_inference(config, epoch=epoch)
    assert isinstance(chain, ShortRun)
    assert chain.noise_scale == pytest.approx(noise)
    assert chain.likelihood_weight == pytest.approx(weight)


def test_without_starts_nothing_is_annealed() -> None:
    memory = normal(4, 2)
    config = ShortRunConfig(n_steps=2, step_size=(0.1, 0.2), noise_scale=0.7, likelihood_weight=3.0)
    for epoch in (0.0, 2.0, 100.0):
        chain = build_inference(config, epoch=epoch, memory=memory)
        assert isinstance(chain, ShortRun)
        assert (chain.n_steps, chain.step_size) == (2, (0.1, 0.2))
        assert (chain.noise_scale, chain.likelihood_weight) == (0.7, 3.0)
        assert chain.memory is memory


def test_anneals_may_wait() -> None:
    config = ShortRunConfig(noise_scale=0.2, noise_scale_start=0.05, anneal_start_epoch=5.0, anneal_epochs=1.0)
    for epoch, noise in ((0.0, 0.05), (5.0, 0.05), (5.5, 0.125), (6.0, 0.2), (20.0, 0.2)):
        chain = build_inference(config, epoch=epoch)
        assert isinstance(chain, ShortRun)
        assert chain.noise_scale == pytest.approx(noise)


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0.0, 0.0), (1.99, 0.0), (2.0, 0.1), (3.0, 0.1), (5.0, 0.5), (7.0, 0.9), (50.0, 0.9)]
)
@pytest.mark.parametrize("kind", ["amortized", "semi_amortized"])
def test_kl_weight_warms_up_after_pretraining(kind: str, epoch: float, weight: float) -> None:
    """An autoencoder for two epochs, the start value for one more, then a line over four."""
    changes = {
        "kind": kind,
        "kl_weight": 0.9,
        "kl_weight_start": 0.1,
        "pretrain_epochs": 2,
        "anneal_start_epoch": 1.0,
        "anneal_epochs": 4.0,
        "free_bits": 3.0,
        "free_bits_kind": "total",
    }
    config = Config().merge({"inference": changes})
    encoder = toy_model(config.override(["training.precision=fp32"])).encoder
    infer = build_inference(config.inference, epoch=epoch, encoder=encoder)
    assert isinstance(infer, Amortized)
    assert infer.kl_weight == pytest.approx(weight)
    assert infer.free_bits == FreeBits(3.0, "total")
    assert infer.encoder is encoder
    if isinstance(infer, SemiAmortized):
        assert (infer.n_steps, infer.step_size) == (20, 0.3)
    assert isinstance(infer, SemiAmortized) == (kind == "semi_amortized")


def test_a_local_posterior_has_its_settings_and_warms_up_from_the_first_epoch() -> None:
    changes = {"kind": "local", "n_steps": 16, "kl_weight": 0.9, "kl_weight_start": 0.1, "anneal_epochs": 4.0}
    config = Config().merge({"inference": changes}).inference
    for epoch, weight in ((0.0, 0.1), (2.0, 0.5), (9.0, 0.9)):
        assert build_inference(config, epoch=epoch) == Local(16, 0.3, weight)


def test_an_encoder_comes_with_its_kinds_alone() -> None:
    plain = _build()
    assert plain.encoder is None
    assert _build(inference={"kind": "local"}).encoder is None
    for kind in ("amortized", "semi_amortized"):
        config = toy_config().override([f"inference.kind={kind}"])
        model = toy_model(config)
        assert model.encoder is not None
        shapes = {name: tuple(value.shape) for name, value in model.encoder.named_parameters()}
        assert (shapes["embedding"], shapes["moments_weight"]) == ((12, 6), (2 * LATENT, 6))
        weights = model.state_dict()
        for name, value in plain.state_dict().items():  # what both have begins alike
            assert torch.equal(value, weights[name])


def test_without_z_there_is_nothing_to_infer() -> None:
    config = toy_config().override(["model.latent_dim=0"])
    model = toy_model(config)
    assert isinstance(model.prior, GaussianPrior)
    assert isinstance(build_inference(config.inference, epoch=0.0), NoLatent)
    rng = seeded(3)
    assert model.prior.sample(5, rng).shape == (5, 0)
    assert torch.equal(rng.get_state(), seeded(3).get_state())


def test_ebm_prior_is_sampled_by_its_chain() -> None:
    settings = {"n_steps": 4, "step_size": (0.5, 0.4, 0.3, 0.2), "noise_scale": 0.6}
    config = toy_config({"prior": settings})
    prior, rng = toy_model(config).prior, seeded(2)
    start = torch.randn(5, LATENT, generator=rng)
    wanted = langevin(prior.logdensity, start, rng=rng, **settings)  # type: ignore[arg-type]
    assert torch.equal(prior.sample(5, seeded(2)), wanted)
    assert prior.log_z() is None
    assert all(p.grad is None for p in prior.parameters())


def test_gaussian_prior_is_sampled_exactly() -> None:
    prior = GaussianPrior(LATENT)
    assert torch.equal(prior.sample(5, seeded(2)), torch.randn(5, LATENT, generator=seeded(2)))
    assert (prior.chain, prior.log_z()) == (None, 0.0)


def test_a_prior_of_the_users_own_is_imported_where_it_is_trusted() -> None:
    config = toy_config({"model": {"prior": f"{Mixture.__module__}:Mixture"}})
    prior = plugged_model(config, tried=False).prior
    assert isinstance(prior, Mixture)
    assert prior.latent_dim == LATENT
    with pytest.raises(InputError, match=rf"would import the module {Mixture.__module__}"):
        toy_model(config)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.prior=no_such_module:A", "cannot be imported: No module named 'no_such_module'"),
        (f"model.prior={Mixture.__module__}:Nothing", "cannot be imported"),
        ("model.generator=math:pi", "is no class"),
        ("model.prior=collections:OrderedDict", "is no class"),
        ("model.prior=torch.nn:Linear", "Linear: missing a required argument: 'in_features'; there are latent_dim"),
        ("model.prior=torch.nn:Identity", "Identity is no Prior: it lacks chain, latent_dim, log_z, logdensity"),
        (f"model.generator={Mixture.__module__}:Mixture", "Mixture is no Generator: it lacks bos_id, device"),
    ],
)
def test_what_is_no_part_of_a_model_is_refused(setting: str, message: str) -> None:
    config = toy_config().override([setting])
    with pytest.raises(InputError, match=re.escape(message)):
        plugged_model(config, tried=False)


class Quiet(LSTMGenerator):
    """Takes an argument of its own, and all of the class above it."""

    def __init__(self, *, hidden_dim: int, n_layers: int = 1, **options: Any) -> None:
        super().__init__(hidden_dim=hidden_dim * n_layers, **options)


class Fixed(Quiet):
    def __init__(self, latent_dim: int, vocab_size: int, bos_id: int, rng: torch.Generator) -> None:
        sizes = {"latent_dim": latent_dim, "vocab_size": vocab_size, "embedding_dim": 4, "hidden_dim": 5}
        super().__init__(**sizes, bos_id=bos_id, rng=rng, dropout=0.0, init_range=0.1, compute_dtype=torch.float32)


class Drawing(Mixture):
    """Leaves its parameters as a layer of PyTorch draws them."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.means = torch.nn.Parameter(torch.nn.Linear(latent_dim, 3).weight.detach())


def test_the_global_stream_is_neither_moved_nor_heard() -> None:
    config = toy_config({"model": {"prior": f"{__name__}:Drawing"}})
    means = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        prior = plugged_model(config, tried=False).prior
        assert torch.equal(torch.random.get_rng_state(), before)
        means.append(next(prior.parameters()))
    assert torch.equal(*means)


def test_a_constructor_with_options_takes_what_the_class_above_it_takes() -> None:
    config = toy_config().override([f"model.generator={__name__}:Quiet", "model.n_layers=3"])
    generator = plugged_model(config, tried=False).generator
    assert isinstance(generator, Quiet)
    assert generator.dropout == config.model.dropout > 0
    assert generator.hidden_dim == 3 * config.model.hidden_dim


@pytest.mark.parametrize(
    "setting",
    ["dropout=0.35", "tied=true", "n_layers=3", "n_heads=3", "word_dropout=0.1", "embedding_dim=999", "hidden_dim=999"],
)
def test_a_setting_that_a_generator_of_the_users_own_does_not_take_is_refused(setting: str) -> None:
    sizes = {"dropout": 0.2, "embedding_dim": 128, "hidden_dim": 128}  # as presets have them
    config = toy_config({"model": sizes}).override([f"model.generator={__name__}:Fixed", f"model.{setting}"])
    with pytest.raises(InputError, match=rf"model.{setting.partition('=')[0]} has no effect with {__name__}:Fixed"):
        plugged_model(config)


def test_sizes_that_a_preset_gives_or_an_encoder_takes_are_no_mistake() -> None:
    plugged_model(toy_config({"model": {"generator": f"{__name__}:Fixed", "embedding_dim": 128, "hidden_dim": 128}}))
    plugged_model(toy_config({"model": {"generator": f"{__name__}:Fixed"}, "inference": {"kind": "amortized"}}))


def test_a_setting_that_a_prior_of_the_users_own_does_not_take_is_refused() -> None:
    name = f"{Mixture.__module__}:Mixture"
    with pytest.raises(InputError, match=f"model.energy_bound has no effect with {name}, which does not take it"):
        plugged_model(toy_config({"model": {"prior": name, "energy_bound": 2.0}}))


def test_keyed_draws_of_the_prior_do_not_depend_on_their_number() -> None:
    prior = toy_prior(dtype=torch.float32)
    many, few = prior.sample(6, KeyedRng(1, range(6))), prior.sample(2, KeyedRng(1, (4, 1)))
    assert gap(few, many[[4, 1]]) < 1e-4


values = st.floats(0.01, 100)


def test_middle_of_an_anneal() -> None:
    assert linear(1.0, 4.0, 0.5) == pytest.approx(2.5)
    assert geometric(1.0, 4.0, 0.5) == pytest.approx(2.0)
    assert geometric(10.0, 0.1, 0.25) == pytest.approx(10**0.5)


@given(start=values, end=values)
def test_ends_of_an_anneal_and_outside(start: float, end: float) -> None:
    for schedule in (linear, geometric):
        assert schedule(start, end, -1.0) == schedule(start, end, 0.0) == start
        assert schedule(start, end, 7.0) == schedule(start, end, 1.0) == pytest.approx(end)


@given(start=values, end=values, progress=st.floats(0, 0.99))
def test_every_step_of_an_anneal_goes_towards_its_end(start: float, end: float, progress: float) -> None:
    for schedule in (linear, geometric):
        now, later = schedule(start, end, progress), schedule(start, end, progress + 0.01)
        assert (later - now) * (end - start) >= -1e-12
