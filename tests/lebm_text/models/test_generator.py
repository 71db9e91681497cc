"""p(x|z): equal to a plain nn.LSTM with log_softmax, in values and gradients, however it is computed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lebm_text.models import lstm
from lebm_text.models.modules import dropout

from .. import plain
from ..toy import BOS, LATENT, VOCABULARY, by_steps, gap, normal, seeded, toy_batch, toy_generator

LENGTHS = (7, 5, 5, 2, 1)
TIED = [pytest.param({}, id="untied"), pytest.param({"tied": True, "embedding_dim": 6}, id="tied")]


@pytest.mark.parametrize("options", TIED)
@pytest.mark.parametrize("lengths", [LENGTHS, (4,), (1,), (3, 3, 3)])
def test_both_likelihoods_are_the_plain_one(options: dict[str, Any], lengths: tuple[int, ...]) -> None:
    generator, batch, z = toy_generator(**options), toy_batch(lengths), normal(len(lengths), LATENT)
    wanted = plain.log_likelihood(generator, batch, z)
    assert gap(generator.log_likelihood(batch, z), wanted) < 1e-12
    assert gap(generator.likelihood(batch)(z), wanted) < 1e-12


@pytest.mark.parametrize("options", TIED)
def test_gradients_in_z_and_in_every_parameter_are_the_plain_ones(options: dict[str, Any]) -> None:
    generator, batch, pull = toy_generator(**options), toy_batch(LENGTHS), normal(len(LENGTHS), seed=5)
    z = normal(len(LENGTHS), LATENT).requires_grad_()
    leaves = {"z": z, **dict(generator.named_parameters())}
    wanted = torch.autograd.grad((plain.log_likelihood(generator, batch, z) * pull).sum(), list(leaves.values()))
    found = torch.autograd.grad((generator.log_likelihood(batch, z) * pull).sum(), list(leaves.values()))
    for name, mine, theirs in zip(leaves, found, wanted, strict=True):
        assert gap(mine, theirs) < 1e-12, name
        assert bool(theirs.any()), name
    (in_chain,) = torch.autograd.grad((generator.likelihood(batch)(z) * pull).sum(), z)
    assert gap(in_chain, wanted[0]) < 1e-12


@pytest.mark.parametrize("options", TIED)
@pytest.mark.parametrize("axes", [(1,), (4,), (2, 3)])
def test_leading_axes_are_independent_sets_of_z(options: dict[str, Any], axes: tuple[int, ...]) -> None:
    generator, batch = toy_generator(**options), toy_batch(LENGTHS)
    z = normal(*axes, len(LENGTHS), LATENT).requires_grad_()
    pull = normal(*axes, len(LENGTHS), seed=3)
    found = generator.likelihood(batch)(z)
    wanted = torch.stack([plain.log_likelihood(generator, batch, some) for some in z.flatten(0, -3)]).view(found.shape)
    assert gap(found, wanted) < 1e-12
    mine, theirs = (torch.autograd.grad((value * pull).sum(), z)[0] for value in (found, wanted))
    assert gap(mine, theirs) < 1e-12


@pytest.mark.parametrize("options", TIED)
@pytest.mark.parametrize("library", ["none", "packed", "padded"])
@pytest.mark.parametrize("axes", [(), (2,)])
def test_a_padded_likelihood_and_its_tangent_are_those_of_the_packed(
    options: dict[str, Any], library: str, axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without a sentence have nothing to say, whatever their z; also where the library takes padded input."""
    monkeypatch.setattr(lstm, "library_runs", lambda device, dtype: library != "none")
    monkeypatch.setattr(lstm, "SMALL_WIDTH", 0 if library == "padded" else lstm.SMALL_WIDTH)
    generator, batch = toy_generator(**options), toy_batch([*[7, 5, 5, 2, 1], *[1] * 12])
    padded = batch.padded()
    assert padded.tokens.shape == (18, 8) and padded.lengths.tolist() == [*batch.lengths.tolist(), 0]
    z = normal(*axes, 18, LATENT).requires_grad_()
    wanted = F.pad(generator.likelihood(batch)(z[..., :17, :]), (0, 1))
    found = generator.padded_likelihood(padded)
    assert gap(found(z), wanted) < 1e-12
    gradients = [torch.autograd.grad(value.sum(), z)[0] for value in (wanted, found(z), found.tangent(z))]
    assert max(gap(gradients[0], other) for other in gradients[1:]) < 1e-12
    assert bool(gradients[0][..., :17, :].all()) and not gradients[0][..., 17, :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_products_only(dtype: torch.dtype) -> None:
    batch, z = toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    rounded = toy_generator(dtype=torch.float32, compute_dtype=dtype)
    found, wanted = rounded.log_likelihood(batch, z.float()), toy_generator().log_likelihood(batch, z)
    assert found.dtype == torch.float32
    assert gap(found, wanted) < 1e-4 if dtype == torch.float32 else 1e-3 < gap(found, wanted) < 0.1
    assert {rounded.weights().token.dtype, rounded.output_layer().weight.dtype} == {dtype}


def test_step_by_step_is_the_same_distribution() -> None:
    generator, batch, z = toy_generator(), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    assert gap(by_steps(generator, batch, z), generator.log_likelihood(batch, z)) < 1e-12


def test_selected_rows_go_on_as_before() -> None:
    generator, z = toy_generator(), normal(3, LATENT)
    rows = torch.tensor([2, 0, 2])
    _, state = generator.step(torch.tensor([BOS] * 3), generator.start(z))
    tokens = torch.tensor([4, 5, 6])
    everything, _ = generator.step(tokens, state)
    some, _ = generator.step(tokens[rows], state.select(rows))
    assert gap(some, everything[rows]) < 1e-14
    assert gap(everything[0], everything[2]) > 1e-3


def test_joined_rows_go_on_as_before_these_first() -> None:
    generator, z = toy_generator(), normal(5, LATENT)
    _, state = generator.step(torch.full((5,), BOS), generator.start(z))
    tokens = torch.tensor([4, 5, 6, 7, 8])
    wanted, _ = generator.step(tokens, state)
    joined = state.select(torch.tensor([0, 1])).join(state.select(torch.tensor([2, 3, 4])))
    found, _ = generator.step(tokens, joined)
    assert gap(found, wanted) < 1e-14
    assert gap(wanted[:2], wanted[3:]) > 1e-3


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    width=st.integers(0, 4),
    fill=st.integers(0, VOCABULARY - 1),
)
def test_padding_never_changes_a_likelihood(lengths: list[int], width: int, fill: int) -> None:
    """Neither more columns of it, nor what stands there, nor longer neighbours."""
    generator, batch = toy_generator(), toy_batch(lengths)
    z = normal(len(lengths), LATENT)
    padding = torch.arange(batch.tokens.shape[1] + width) >= batch.lengths[:, None]
    tokens = F.pad(batch.tokens, (0, width)).masked_fill(padding, fill)
    changed = dataclasses.replace(batch, tokens=tokens)
    found = generator.likelihood(batch)(z)
    assert torch.equal(generator.likelihood(changed)(z), found)
    assert torch.equal(generator.log_likelihood(changed, z), generator.log_likelihood(batch, z))
    for row in range(len(lengths)):
        alone = batch.select(torch.tensor([row]))
        assert gap(generator.likelihood(alone)(z[row : row + 1]), found[row : row + 1]) < 1e-12


def test_likelihood_gives_no_parameter_a_gradient() -> None:
    generator, batch = toy_generator(), toy_batch(LENGTHS)
    z = normal(len(LENGTHS), LATENT).requires_grad_()
    torch.autograd.backward(generator.likelihood(batch)(z).sum())
    assert z.grad is not None
    assert all(parameter.grad is None for parameter in generator.parameters())


@pytest.mark.parametrize("change", ["optimizer", "load", "in place"])
def test_likelihood_of_changed_parameters_is_an_error(change: str) -> None:
    generator, batch, z = toy_generator(), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    likelihood = generator.likelihood(batch)
    likelihood(z)
    if change == "optimizer":
        torch.autograd.backward(generator.log_likelihood(batch, z).sum())
        likelihood(z)  # a backward pass alone changes nothing
        torch.optim.Adam(generator.parameters(), lr=0.01).step()
    elif change == "load":
        generator.load_state_dict(toy_generator(seed=5).state_dict())
    else:
        with torch.no_grad():
            generator.output_bias[0] += 1
    with pytest.raises(RuntimeError, match="parameters changed"):
        likelihood(z)
    assert gap(generator.likelihood(batch)(z), generator.log_likelihood(batch, z)) < 1e-12


class TestDropout:
    """Masks come from the generator passed in, and from nowhere else."""

    def test_masks_follow_their_stream(self) -> None:
        generator, batch, z = toy_generator(dropout=0.4), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
        before = torch.get_rng_state()
        first, again, other = (generator.log_likelihood(batch, z, rng=seeded(s)) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert gap(first, other) > 1e-3
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_a_stream_or_a_rate_there_is_none(self) -> None:
        batch, z = toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
        wanted = plain.log_likelihood(toy_generator(), batch, z)
        assert gap(toy_generator(dropout=0.4).log_likelihood(batch, z), wanted) < 1e-12
        assert gap(toy_generator(dropout=0.4).likelihood(batch)(z), wanted) < 1e-12
        assert gap(toy_generator(dropout=0.0).log_likelihood(batch, z, rng=seeded()), wanted) < 1e-12

    def test_values_are_zeroed_at_the_rate_and_scaled_up(self) -> None:
        ones = torch.ones(200, 100, dtype=torch.float64)
        dropped = dropout(ones, 0.3, seeded())
        values = torch.unique(dropped)
        assert gap(values, torch.tensor([0.0, 1 / 0.7])) < 1e-6
        # A share of n Bernoulli draws has standard error √(p(1−p)/n).
        assert abs(float((dropped == 0).double().mean()) - 0.3) < 4 * (0.3 * 0.7 / ones.numel()) ** 0.5

    def test_embeddings_and_outputs_are_both_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        widths = []
        generator, batch = toy_generator(dropout=0.3), toy_batch(LENGTHS)

        def watched(values: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
            widths.append(values.shape)
            return dropout(values, rate, rng)

        monkeypatch.setattr("lebm_text.models.generator.dropout", watched)
        generator.log_likelihood(batch, normal(len(LENGTHS), LATENT), rng=seeded())
        assert widths == [(batch.n_tokens, 5), (batch.n_tokens, 6)]


def test_bfloat16_stays_close_to_float64() -> None:
    """A token's log-probability is off by at most its logit's rounding: operands ≤ 2⁻⁸ each over E + H terms ≤ 0.8."""
    exact = toy_generator(dtype=torch.float64)
    half = toy_generator(dtype=torch.float32, compute_dtype=torch.bfloat16)
    batch, z = toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    wanted = exact.log_likelihood(batch, z)
    for found in (half.log_likelihood(batch, z.float()), half.likelihood(batch)(z.float())):
        assert found.dtype == torch.float32
        error = (found.double() - wanted).detach().abs() / batch.lengths
        assert 0 < float(error.max()) < 0.05
    assert gap(toy_generator(dtype=torch.float32).likelihood(batch)(z.float()), wanted) < 1e-5


def test_bfloat16_gradient_points_the_same_way() -> None:
    batch, z = toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    gradients = []
    for dtype, compute in ((torch.float64, torch.float32), (torch.float32, torch.bfloat16)):
        at = z.to(dtype, copy=True).requires_grad_()
        likelihood = toy_generator(dtype=dtype, compute_dtype=compute).likelihood(batch)
        gradients.append(torch.autograd.grad(likelihood(at).sum(), at)[0].double())
    assert gap(gradients[1], gradients[0]) < 0.05 * float(gradients[0].norm(dim=1).max())


def test_initial_parameters_come_from_the_stream_within_their_range() -> None:
    same, again, other = (toy_generator(seed=s, init_range=0.2) for s in (1, 1, 2))
    for (name, one), two, three in zip(same.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name
        assert gap(one, three) > 0, name
        assert 0.05 < float(one.detach().abs().max()) <= 0.2, name


def test_tied_output_has_no_weight_of_its_own() -> None:
    names = {name for name, _ in toy_generator(tied=True, embedding_dim=6).named_parameters()}
    assert {name for name, _ in toy_generator().named_parameters()} - names == {"output_weight"}


@pytest.mark.parametrize("options", TIED)
def test_without_a_latent_vector_it_is_a_plain_language_model(options: dict[str, Any]) -> None:
    generator, batch = toy_generator(latent_dim=0, **options), toy_batch(LENGTHS)
    empty = torch.empty(len(LENGTHS), 0, dtype=torch.float64)
    wanted = plain.log_likelihood(generator, batch, empty)
    assert gap(generator.log_likelihood(batch, empty), wanted) < 1e-12
    assert gap(generator.likelihood(batch)(empty.expand(2, -1, -1)), wanted.expand(2, -1)) < 1e-12
    found = torch.autograd.grad(generator.log_likelihood(batch, empty).sum(), list(generator.parameters()))
    theirs = torch.autograd.grad(wanted.sum(), list(generator.parameters()), allow_unused=True)
    for one, two in zip(found, theirs, strict=True):
        assert one.numel() == 0 or gap(one, torch.zeros_like(one) if two is None else two) < 1e-10
