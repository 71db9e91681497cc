"""One layer, two ways: what `torch.lstm` computes, which is cuDNN on a GPU, is what the scan computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lebm_text.models import layer as layers
from lebm_text.models.layer import LSTMLayer, library_runs
from lebm_text.models.packing import Packing

from ..toy import gap, normal

CPU = torch.device("cpu")
DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]
E, H, D = 5, 4, 3
LENGTHS = (6, 4, 4, 1)


@pytest.fixture(autouse=True)
def _fresh_answers() -> Iterator[None]:
    forget = layers._library_works.cache_clear
    forget()
    yield
    forget()


def _leaves(dtype: torch.dtype, device: str, *, latent: int = D) -> dict[str, Tensor]:
    rows = len(LENGTHS)
    shapes = {
        "token": (4 * H, E),
        "recurrent": (4 * H, H),
        "latent": (4 * H, latent),
        "token_bias": (4 * H,),
        "row_bias": (4 * H,),
        "embedded": (sum(LENGTHS), E),
        "z": (rows, latent),
        "h0": (rows, H),
        "c0": (rows, H),
    }
    return {
        name: normal(*shape, seed=i).to(device, dtype).requires_grad_()
        for i, (name, shape) in enumerate(shapes.items())
    }


def _layer(leaves: dict[str, Tensor], *, library: bool, biases: tuple[str, ...], dtype: torch.dtype) -> LSTMLayer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "library_runs", lambda device, dtype: library)
        return LSTMLayer.of(
            leaves["token"],
            leaves["recurrent"],
            latent_weight=leaves["latent"],
            dtype=dtype,
            **{name: leaves[name] for name in biases},
        )


def _run(leaves: dict[str, Tensor], layer: LSTMLayer) -> Tensor:
    packing = Packing.of(torch.tensor(LENGTHS), leaves["z"].device)
    return layer.scan(layer.prepare(leaves["embedded"]), leaves["z"], leaves["h0"], leaves["c0"], packing)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("biases", [("token_bias",), ("row_bias",), ("token_bias", "row_bias"), ()])
@pytest.mark.parametrize("latent", [D, 0])
def test_the_library_computes_what_the_scan_does(
    device: str, dtype: torch.dtype, tolerance: float, biases: tuple[str, ...], latent: int
) -> None:
    if device == "cuda" and not library_runs(torch.device(device), dtype):
        pytest.skip("cuDNN would round more")
    leaves = _leaves(dtype, device, latent=latent)
    used = [leaf for name, leaf in leaves.items() if leaf.numel() and (name in biases or "bias" not in name)]
    pull = normal(sum(LENGTHS), H, seed=99).to(device, dtype)
    found = []
    for library in (False, True):
        hidden = _run(leaves, _layer(leaves, library=library, biases=biases, dtype=dtype))
        assert hidden.dtype == dtype
        found.append([hidden, *torch.autograd.grad((hidden * pull).sum(), used)])
    for scanned, library_s in zip(*found, strict=True):
        assert bool(scanned.any())
        assert gap(library_s, scanned) < tolerance * max(1.0, float(scanned.detach().abs().max()))


@pytest.mark.parametrize("device", DEVICES)
def test_a_chain_takes_its_gradient_from_constant_weights(device: str) -> None:
    leaves = _leaves(torch.float64, device)
    wanted_in = [leaves[name] for name in ("z", "h0", "c0")]
    found = []
    for library in (False, True):
        layer = _layer(leaves, library=library, biases=("token_bias",), dtype=torch.float64)
        constant = layer.detach()
        assert constant.library == library
        inside = {name: leaf if name in ("z", "h0", "c0") else leaf.detach() for name, leaf in leaves.items()}
        twice = [torch.autograd.grad(_run(inside, constant).square().sum(), wanted_in) for _ in range(2)]
        assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True)) or device == "cuda"
        found.append(twice[0])
    for scanned, library_s in zip(*found, strict=True):
        assert gap(library_s, scanned) < 1e-10


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_operands_give_results_in_the_parameters_type(device: str) -> None:
    """Rounded are x, z, W, h and on the way a and c, each by 2⁻⁹; six steps of sums over E + D + H terms add up."""
    leaves = _leaves(torch.float32, device)
    exact = _run(leaves, _layer(leaves, library=False, biases=("token_bias",), dtype=torch.float32))
    half = _run(leaves, _layer(leaves, library=True, biases=("token_bias",), dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    assert 0 < gap(half, exact) < 0.1
    (grad,) = torch.autograd.grad(half.sum(), leaves["z"])
    assert grad.dtype == torch.float32 and bool(grad.isfinite().all())


def test_no_gradient_is_asked_for_without_one() -> None:
    leaves = {name: leaf.detach() for name, leaf in _leaves(torch.float64, "cpu").items()}
    layers_of_both = (_layer(leaves, library=library, biases=(), dtype=torch.float64) for library in (False, True))
    with torch.no_grad():
        scanned, library_s = (_run(leaves, layer) for layer in layers_of_both)
    assert gap(library_s, scanned) < 1e-12


class TestChoice:
    """One function of device and type."""

    CUDA = torch.device("cuda", 0)

    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch._C, "_has_cudnn", True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        monkeypatch.setattr(layers, "_library_works", lambda device, dtype: True)

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
    assert layers._library_works(CPU, torch.float32)


def test_a_library_that_refuses_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr(torch, "lstm", refuse)
    with pytest.warns(UserWarning, match=r"cuDNN runs no LSTM in torch.bfloat16.*NOT_SUPPORTED") as caught:
        assert not layers._library_works(CPU, torch.bfloat16)
        assert not layers._library_works(CPU, torch.bfloat16)
    assert len(caught) == 1
