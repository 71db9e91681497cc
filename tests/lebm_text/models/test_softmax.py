"""Chunked log-probabilities: those of log_softmax, exact gradients, sound in bfloat16 and for huge logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lebm_text.models import softmax
from lebm_text.models.softmax import OutputLayer

from ..toy import gap, normal, seeded

H, V = 3, 7


def _problem(n: int = 70, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden, weight, bias, targets; logits grow with `scale`."""
    targets = torch.randint(V, (n,), generator=seeded(4))
    return normal(n, H, seed=1), scale * normal(V, H, seed=2), normal(V, seed=3), targets


def _chunked(inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
    hidden, weight, bias = inputs
    return OutputLayer(weight, bias).log_probs(hidden, targets)


def _plain(inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
    hidden, weight, bias = inputs
    return (hidden @ weight.T + bias).log_softmax(1).gather(1, targets[:, None])[:, 0]


def _chunks(n_rows: int, n_types: int) -> list[slice]:
    layer = OutputLayer(torch.zeros(n_types, 1), torch.zeros(n_types))
    return [rows for rows, *_ in softmax._exponentials(torch.zeros(n_rows, 1), layer)]


def _all_exponentials(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (_, weights, total, shift) = next(softmax._exponentials(hidden, OutputLayer(weight, bias)))
    assert len(weights) == len(hidden)
    return weights, total, shift


@pytest.fixture(params=[1, 40 * softmax.COLUMNS, 1 << 20], ids=["32 rows", "40 rows", "all"])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 32 rows (the least), of 40, and one of all."""
    monkeypatch.setattr(softmax, "CPU_CHUNK", request.param)


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("trained", [False, True])
def test_values_and_gradients_are_those_of_log_softmax(trained: bool) -> None:
    *inputs, targets = _problem()
    leaves = [t.requires_grad_() for t in (inputs if trained else inputs[:1])]
    pull = normal(len(targets), seed=8)
    found, wanted = _chunked(inputs, targets), _plain(inputs, targets)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    gradients = zip(
        torch.autograd.grad((found * pull).sum(), leaves),
        torch.autograd.grad((wanted * pull).sum(), leaves),
        strict=True,
    )
    for mine, theirs in gradients:
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("trained", [False, True])
def test_gradcheck_over_two_chunks(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CPU_CHUNK", 1)
    *inputs, targets = _problem(n=35)
    assert len(_chunks(35, V)) == 2
    leaves = [t.requires_grad_(trained or i == 0) for i, t in enumerate(inputs)]
    assert torch.autograd.gradcheck(lambda *some: _chunked(some, targets), leaves)


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_a_tangent_has_the_gradient_without_the_values(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CPU_CHUNK", chunk)
    hidden, weight, bias, targets = _problem(n=35)
    layer, leaf, pull = OutputLayer(weight, bias), hidden.requires_grad_(), torch.linspace(-1, 2, 35).to(hidden.dtype)
    found, wanted = (
        torch.autograd.grad((value * pull).sum(), leaf)[0]
        for value in (layer.tangent(leaf, targets), _plain((leaf, weight, bias), targets))
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("learns", ["weight", "bias"])
def test_one_trained_part_of_the_head_is_enough(learns: str) -> None:
    hidden, weight, bias, targets = _problem(n=5)
    leaf = {"weight": weight, "bias": bias}[learns].requires_grad_()
    (found,) = torch.autograd.grad(OutputLayer(weight, bias).log_probs(hidden, targets).sum(), leaf)
    (wanted,) = torch.autograd.grad(_plain((hidden, weight, bias), targets).sum(), leaf)
    torch.testing.assert_close(found, wanted)


def test_without_grad_mode_nothing_is_recorded() -> None:
    hidden, weight, bias, targets = _problem(n=5)
    weight.requires_grad_()
    with torch.no_grad():
        assert not OutputLayer(weight, bias).log_probs(hidden, targets).requires_grad


@given(n_rows=st.integers(1, 1000), n_types=st.integers(1, 2000), elements=st.integers(1, 1 << 16))
def test_chunks_cover_every_row_once_and_stay_small(n_rows: int, n_types: int, elements: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmax, "CPU_CHUNK", elements)
        chunks = _chunks(n_rows, n_types)
    assert [i for chunk in chunks for i in range(n_rows)[chunk]] == list(range(n_rows))
    for chunk in chunks:
        rows = chunk.stop - chunk.start
        assert rows <= 32 or rows * n_types <= elements


def test_an_empty_batch_of_rows_has_no_chunk() -> None:
    assert _chunks(0, V) == []


def test_logits_of_all_rows_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CPU_CHUNK", 40 * softmax.COLUMNS)
    rows: list[int] = []
    exponentials = softmax._exponentials

    def watched(hidden: Tensor, layer: OutputLayer) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        for chunk, weights, total, shift in exponentials(hidden, layer):
            rows.append(len(weights))
            yield chunk, weights, total, shift

    monkeypatch.setattr(softmax, "_exponentials", watched)
    hidden, weight, bias, targets = _problem(n=100)
    OutputLayer(weight.requires_grad_(), bias).log_probs(hidden, targets).sum().backward()  # type: ignore[no-untyped-call]
    assert rows == [40, 40, 20] * 2  # forward, and again backward


def test_the_bias_is_not_rounded_to_bfloat16() -> None:
    hidden, weight, _, targets = _problem(n=20)
    bias = 10 + normal(V, seed=3)
    nothing = torch.zeros_like(hidden).bfloat16()
    found = OutputLayer(weight.bfloat16(), bias.float()).log_probs(nothing, targets)
    wanted = bias.log_softmax(0)[targets]
    one_row = bias.bfloat16().double().log_softmax(0)[targets]
    # Logits are rounded once, by the product: they are near 10, where bfloat16 is 1/16 apart.
    assert gap(found, wanted) < 0.05
    joint = softmax.OutputLayer(weight.bfloat16(), bias.float()).joint[H:, :V].double().sum(0)
    assert gap(joint, bias) < 1e-3 < gap(one_row, wanted)


def test_the_logits_of_generation_have_the_whole_bias() -> None:
    _, weight, _, _ = _problem()
    bias = (10 + normal(V, seed=3)).float()
    found = OutputLayer(weight.bfloat16(), bias).logits(torch.zeros(4, H).bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, bias.expand(4, -1))


def _in_bfloat16(scale: float, shift: float = 0.0) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """A problem in bfloat16 and the same numbers in float64."""
    hidden, weight, bias, targets = _problem(scale=scale)
    half = [t.bfloat16() for t in (hidden, weight, bias + shift)]
    return half, [t.double() for t in half], targets


# bfloat16 rounds to nearest with relative error 2⁻⁹. A logit l is thus off by |l| 2⁻⁹, its exponential by as much
# relatively and 2⁻⁹ more; a weighted mean of such errors is no larger, nor is its logarithm. Twice that is allowed.
def _bound(wide: list[Tensor]) -> float:
    return float(((wide[0] @ wide[1].T + wide[2]).detach().abs().max() + 1) * 2**-8)


def test_the_logit_of_a_target_is_not_rounded_to_bfloat16() -> None:
    """Of operands in bfloat16 the products are exact in float32, and their sum is rounded as that is."""
    (hidden, weight, bias), wide, targets = _in_bfloat16(scale=3.0)
    rows, logits = OutputLayer(weight, bias).target_logits(hidden, targets)
    wanted = (wide[0] * wide[1][targets]).sum(1) + wide[2][targets]
    assert gap(rows, wide[1][targets]) == 0
    assert gap(logits, wanted) < 1e-5 < gap(wanted.bfloat16(), wanted)


@pytest.mark.parametrize("trained", [False, True])
def test_bfloat16_stays_within_its_rounding(trained: bool) -> None:
    half, wide, targets = _in_bfloat16(scale=1.0)
    for tensors in (half, wide):
        for tensor in tensors[: 3 if trained else 1]:
            tensor.requires_grad_()
    found, wanted = _chunked(half, targets), _plain(wide, targets)
    assert found.dtype == torch.float32
    error = gap(found, wanted)
    assert 0 < error < _bound(wide)
    (mine,) = torch.autograd.grad(found.sum(), half[:1])
    (theirs,) = torch.autograd.grad(wanted.sum(), wide[:1])
    # ∂/∂h = w_t − Σ p w: probabilities are off by twice the bound relatively, sums of |w| by their own rounding.
    assert gap(mine, theirs) < 3 * _bound(wide) * float(wide[1].detach().abs().max())


def test_moderate_logits_are_not_shifted() -> None:
    half, _, _ = _in_bfloat16(scale=1.0)
    assert not _all_exponentials(*half)[2].any()


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (1.0, -200.0), (1.0, 200.0)])
def test_logits_out_of_range_take_the_shifted_fallback(scale: float, shift: float) -> None:
    half, wide, targets = _in_bfloat16(scale, shift)
    weights, total, taken = _all_exponentials(*half)
    assert bool(taken.any())
    assert bool(torch.isfinite(weights).all())
    assert bool((total >= 0.99).all())  # the largest term is exp(0)
    found, wanted = _chunked(half, targets), _plain(wide, targets)
    assert gap(found, wanted) < 2 * _bound(wide)  # the difference is rounded again


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_logits_are_finite(dtype: torch.dtype) -> None:
    hidden, weight, bias, targets = _problem(scale=1e4)
    found = OutputLayer(weight.to(dtype), bias.to(dtype)).log_probs(hidden.to(dtype), targets)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), _plain((hidden, weight, bias), targets), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shift", [-100.0, 85.0])
def test_sums_near_the_ends_of_the_range_lose_nothing(shift: float) -> None:
    """At e⁻¹⁰⁰ float32 still has numbers, but with a few bits each."""
    hidden, weight, bias, targets = _problem()
    found = OutputLayer(weight.float(), (bias + shift).float()).log_probs(hidden.float(), targets)
    torch.testing.assert_close(found.double(), _plain((hidden, weight, bias), targets), rtol=0, atol=1e-4)


def test_probabilities_sum_to_one() -> None:
    hidden, weight, bias, _ = _problem(n=4)
    total = sum(OutputLayer(weight, bias).log_probs(hidden, torch.full((4,), v)).exp() for v in range(V))
    torch.testing.assert_close(total, torch.ones(4, dtype=torch.float64))
