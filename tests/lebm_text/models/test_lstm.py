"""The LSTM: textbook values and exact gradients of the scan, by hand and by the library; packing; precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lebm_text.models import lstm
from lebm_text.models.lstm import (
    LSTM,
    LSTMWeights,
    compute_dtype,
    library_runs,
    lstm_scan,
    resolve_precision,
)
from lebm_text.models.packing import Packing

from ..toy import gap, normal

CPU = torch.device("cpu")
H = 3
SIZES = (4, 3, 3, 1)  # four rows of lengths 4, 3, 3, 1
N = sum(SIZES)


def _arguments(seed: int = 0, batch_sizes: tuple[int, ...] = SIZES) -> list[Tensor]:
    """inputs, offset, weight, h0, c0."""
    rows = batch_sizes[0]
    shapes = [(sum(batch_sizes), 4 * H), (rows, 4 * H), (4 * H, H), (rows, H), (rows, H)]
    return [normal(*shape, seed=seed + i).requires_grad_() for i, shape in enumerate(shapes)]


def _scan(arguments: Sequence[Tensor], sizes: tuple[int, ...] = SIZES) -> Tensor:
    inputs, offset, weight, h0, c0 = arguments
    return lstm_scan(inputs, offset, weight, h0, c0, sizes)


def _textbook(arguments: Sequence[Tensor], sizes: tuple[int, ...] = SIZES) -> Tensor:
    """The equations as they are written, by autograd; the g block of the arguments is doubled."""
    inputs, offset, weight, h, c = arguments
    steps = []
    for now in torch.split_with_sizes(inputs, list(sizes)):
        n = len(now)
        i, f, o, doubled = (now + offset[:n] + h[:n] @ weight.T).chunk(4, dim=1)
        c = torch.sigmoid(f) * c[:n] + torch.sigmoid(i) * torch.tanh(doubled / 2)
        h = torch.sigmoid(o) * torch.tanh(c)
        steps.append(h)
    return torch.cat(steps)


@pytest.mark.parametrize("sizes", [SIZES, (1, 1, 1), (1,), (5,), (2, 2)])
def test_scan_is_the_textbook_lstm(sizes: tuple[int, ...]) -> None:
    arguments = _arguments(batch_sizes=sizes)
    torch.testing.assert_close(_scan(arguments, sizes), _textbook(arguments, sizes), rtol=0, atol=1e-12)


def test_scan_gradients_are_those_of_the_textbook() -> None:
    arguments = _arguments(3)
    pull = normal(N, H, seed=9)
    found = torch.autograd.grad((_scan(arguments) * pull).sum(), arguments)
    wanted = torch.autograd.grad((_textbook(arguments) * pull).sum(), arguments)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_scan_passes_gradcheck() -> None:
    arguments = _arguments(5)
    assert torch.autograd.gradcheck(lambda *given: _scan(given), arguments)


def test_gradient_of_the_latent_alone_needs_no_weight_gradient() -> None:
    """The path of a Langevin step: tokens and weight constant, offset and initial state not."""
    arguments = _arguments(7)
    pull = normal(N, H, seed=2)
    everything = torch.autograd.grad((_scan(arguments) * pull).sum(), arguments)
    inputs, offset, weight, h0, c0 = arguments
    output = lstm_scan(inputs.detach(), offset, weight.detach(), h0, c0, SIZES)
    found = torch.autograd.grad((output * pull).sum(), [offset, h0, c0])
    for mine, theirs in zip(found, (everything[1], *everything[3:]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_step_is_one_step_of_the_scan() -> None:
    leaves = {name: leaf.detach() for name, leaf in _leaves(torch.float64, "cpu").items()}
    weights = _weights(leaves, library=False)
    embedded, z, h0, c0 = normal(8, E), normal(4, D), normal(4, H), normal(4, H, seed=1)
    packing = Packing.of(torch.tensor([2, 2, 2, 2]), CPU)
    hidden = weights.scan(weights.prepare(embedded), packing, z, h0, c0)
    h, c = weights.step(embedded[:4], weights.offset(z), h0, c0)
    torch.testing.assert_close(h, hidden[:4])
    h, _ = weights.step(embedded[4:], weights.offset(z), h, c)
    torch.testing.assert_close(h, hidden[4:])


def test_bfloat16_weight_stays_close() -> None:
    """One product rounds h and W to 8 bits (2⁻⁹ each); gates are Lipschitz ≤ 1 and four steps add up."""
    inputs, offset, weight, h0, c0 = (a.detach() for a in _arguments(2))
    rounded = weight.bfloat16()
    found = lstm_scan(inputs.float(), offset.float(), rounded, h0.float(), c0.float(), SIZES)
    wanted = lstm_scan(inputs, offset, rounded.double(), h0, c0, SIZES)
    assert found.dtype == torch.float32
    assert 0 < gap(found, wanted) < len(SIZES) * H * float(weight.abs().max()) * 2**-8


DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]
E, D = 5, 4
LENGTHS = (6, 4, 4, 1)


@pytest.fixture(autouse=True)
def _fresh_answers() -> Iterator[None]:
    forget = lstm._library_works.cache_clear
    forget()
    yield
    forget()


def _leaves(dtype: torch.dtype, device: str, *, latent: int = D) -> dict[str, Tensor]:
    rows = len(LENGTHS)
    shapes = {
        "token_weight": (4 * H, E),
        "latent_weight": (4 * H, latent),
        "recurrent_weight": (4 * H, H),
        "gate_bias": (4 * H,),
        "embedded": (sum(LENGTHS), E),
        "z": (rows, latent),
        "h0": (rows, H),
        "c0": (rows, H),
    }
    return {
        name: normal(*shape, seed=i).to(device, dtype).requires_grad_()
        for i, (name, shape) in enumerate(shapes.items())
    }


def _weights(
    leaves: dict[str, Tensor], *, library: bool, per_row: bool = False, compute: torch.dtype = torch.float32
) -> LSTMWeights:
    sizes = {"embedding_dim": E, "hidden_dim": H, "latent_dim": leaves["z"].shape[1]}
    module = LSTM(1, **sizes, compute_dtype=compute).to(leaves["z"])
    for name in ("token_weight", "latent_weight", "recurrent_weight", "gate_bias"):
        delattr(module, name)
        setattr(module, name, leaves[name])
    return replace(module.weights(bias_per_row=per_row), library=library)


def _run(leaves: dict[str, Tensor], weights: LSTMWeights) -> Tensor:
    packing = Packing.of(torch.tensor(LENGTHS), leaves["z"].device)
    return weights.scan(weights.prepare(leaves["embedded"]), packing, *(leaves[name] for name in ("z", "h0", "c0")))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("latent", [D, 0])
def test_the_library_computes_what_the_scan_does(
    device: str, dtype: torch.dtype, tolerance: float, per_row: bool, latent: int
) -> None:
    if device == "cuda" and not library_runs(torch.device(device), dtype):
        pytest.skip("cuDNN would round more")
    leaves = _leaves(dtype, device, latent=latent)
    used = [leaf for leaf in leaves.values() if leaf.numel()]
    pull = normal(sum(LENGTHS), H, seed=99).to(device, dtype)
    found = []
    for library in (False, True):
        hidden = _run(leaves, _weights(leaves, library=library, per_row=per_row))
        assert hidden.dtype == dtype
        found.append([hidden, *torch.autograd.grad((hidden * pull).sum(), used)])
    for scanned, library_s in zip(*found, strict=True):
        assert bool(scanned.any())
        assert gap(library_s, scanned) < tolerance * max(1.0, float(scanned.detach().abs().max()))


@pytest.mark.parametrize("library", [False, True])
def test_without_z_and_states_all_are_zero(library: bool) -> None:
    leaves = _leaves(torch.float64, "cpu", latent=0)
    weights = _weights(leaves, library=library)
    zeros = {name: torch.zeros_like(leaves[name]) for name in ("h0", "c0")}
    packing = Packing.of(torch.tensor(LENGTHS), CPU)
    found = weights.scan(weights.prepare(leaves["embedded"]), packing)
    assert torch.equal(found, _run(leaves | zeros, weights))
    assert gap(found, _run(leaves, weights)) > 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_operands_give_results_in_the_parameters_type(device: str) -> None:
    """Rounded are x, z, W, h and on the way a and c, each by 2⁻⁹; six steps of sums over E + D + H terms add up."""
    leaves = _leaves(torch.float32, device)
    exact = _run(leaves, _weights(leaves, library=False))
    half = _run(leaves, _weights(leaves, library=True, compute=torch.bfloat16))
    assert half.dtype == torch.float32
    assert 0 < gap(half, exact) < 0.1
    (grad,) = torch.autograd.grad(half.sum(), leaves["z"])
    assert grad.dtype == torch.float32 and bool(grad.isfinite().all())


def test_no_gradient_is_asked_for_without_one() -> None:
    leaves = {name: leaf.detach() for name, leaf in _leaves(torch.float64, "cpu").items()}
    with torch.no_grad():
        scanned, library_s = (_run(leaves, _weights(leaves, library=library)) for library in (False, True))
    assert gap(library_s, scanned) < 1e-12


class TestChoice:
    """One function of device and type."""

    CUDA = torch.device("cuda", 0)

    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch._C, "_has_cudnn", True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        monkeypatch.setattr(lstm, "_library_works", lambda device, dtype: True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_a_cpu_scans(self, dtype: torch.dtype) -> None:
        assert not library_runs(CPU, dtype)

    @pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_cudnn_runs_what_it_does_not_round_to_tf32(
        self, capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        assert library_runs(self.CUDA, dtype) == (dtype != torch.float32 or capability < (8, 0))

    def test_absent_it_runs_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch._C, "_has_cudnn", False)
        assert not library_runs(self.CUDA, torch.bfloat16)


def test_a_library_that_works_is_found_to() -> None:
    assert lstm._library_works(CPU, torch.float32)


def test_a_library_that_refuses_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr(torch, "lstm", refuse)
    with pytest.warns(UserWarning, match=r"cuDNN runs no LSTM in torch.bfloat16.*NOT_SUPPORTED") as caught:
        assert not lstm._library_works(CPU, torch.bfloat16)
        assert not lstm._library_works(CPU, torch.bfloat16)
    assert len(caught) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_a_decision_is_kept(precision: str, device: torch.device) -> None:
    assert resolve_precision(precision, device) == precision


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_auto_takes_bf16_where_the_cpu_multiplies_it(avx512: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_precision("auto", CPU) == ("bf16" if avx512 or amx else "fp32")


def test_auto_on_a_gpu_asks_for_native_support(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, n=native: n)
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_dtypes() -> None:
    assert compute_dtype("fp32") == torch.float32
    assert compute_dtype("bf16") == torch.bfloat16
    with pytest.raises(KeyError):
        compute_dtype("auto")
