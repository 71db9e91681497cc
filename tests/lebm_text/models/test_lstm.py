"""The hand-written LSTM scan: textbook values, exact gradients, the reduced precision's bounds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lebm_text.models import lstm
from lebm_text.models.lstm import gate_scale, lstm_scan, lstm_step

from ..toy import gap, normal

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


@pytest.mark.parametrize("elements", [1, 5 * 4 * H, 8 * 4 * H])
def test_blocks_of_steps_do_not_change_the_gradients(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, pull = _arguments(3), normal(N, H, seed=9)
    wanted = torch.autograd.grad((_scan(arguments) * pull).sum(), arguments)
    monkeypatch.setattr(lstm, "BLOCK_ELEMENTS", elements)
    found = torch.autograd.grad((_scan(arguments) * pull).sum(), arguments)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)


def test_blocks_cover_every_step_once_from_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lstm, "BLOCK_ELEMENTS", 7)
    assert list(lstm._blocks_backward(SIZES, 1)) == [(1, 4, 4, 11), (0, 1, 0, 4)]


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
    inputs, offset, weight, h0, c0 = (a.detach() for a in _arguments(1, (4,)))
    h, c = lstm_step(inputs + offset + h0 @ weight.T, c0)
    torch.testing.assert_close(h, lstm_scan(inputs, offset, weight, h0, c0, (4,)))
    again, _ = lstm_step(inputs + offset + h @ weight.T, c)
    both = lstm_scan(torch.cat([inputs, inputs]), offset, weight, h0, c0, (4, 4))
    torch.testing.assert_close(again, both[4:])


def test_gate_scale_doubles_the_last_block_only() -> None:
    assert gate_scale(2, torch.zeros(1)).flatten().tolist() == [1, 1, 1, 1, 1, 1, 2, 2]


def test_bfloat16_weight_stays_close() -> None:
    """One product rounds h and W to 8 bits (2⁻⁹ each); gates are Lipschitz ≤ 1 and four steps add up."""
    inputs, offset, weight, h0, c0 = (a.detach() for a in _arguments(2))
    rounded = weight.bfloat16()
    found = lstm_scan(inputs.float(), offset.float(), rounded, h0.float(), c0.float(), SIZES)
    wanted = lstm_scan(inputs, offset, rounded.double(), h0, c0, SIZES)
    assert found.dtype == torch.float32
    assert 0 < gap(found, wanted) < len(SIZES) * H * float(weight.abs().max()) * 2**-8
