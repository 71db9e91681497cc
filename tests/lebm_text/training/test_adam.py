"""Adam: PyTorch's own numbers, its state as PyTorch lays it out, and no compiler loaded for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from lebm_text.training.adam import Adam

from ..toy import seeded

SHAPES = ((7, 5), (11,), (3, 4, 2))


def _parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    rng = seeded(1)
    return [torch.randn(shape, generator=rng).to(dtype).requires_grad_() for shape in SHAPES]


def _set_gradients(parameters: list[Tensor], step: int) -> None:
    rng = seeded(step)
    for i, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=rng).to(parameter.dtype)
        # The last has none at first, as a part of a model that is not yet in use.
        parameter.grad = None if i == 2 and step < 3 else gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_steps_are_those_of_pytorch(dtype: torch.dtype, weight_decay: float) -> None:
    mine, theirs = _parameters(dtype), _parameters(dtype)
    adam = Adam(mine, lr=0.05, weight_decay=weight_decay)
    reference = torch.optim.Adam(theirs, lr=0.05, weight_decay=weight_decay, fused=True)
    for step in range(6):
        for parameters in (mine, theirs):
            _set_gradients(parameters, step)
        if step == 4:
            adam.lr = reference.param_groups[0]["lr"] = 0.01
        adam.step()
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(mine, _parameters(dtype), strict=True))


def test_gradients_are_forgotten() -> None:
    parameters = _parameters()
    _set_gradients(parameters, 5)
    Adam(parameters, lr=0.1).zero_grad()
    assert [p.grad for p in parameters] == [None, None, None]


@pytest.mark.parametrize("of_pytorch", [False, True])
def test_a_state_is_taken_up_where_it_was_left(of_pytorch: bool) -> None:
    before = _parameters()
    first = torch.optim.Adam(before, lr=0.05) if of_pytorch else Adam(before, lr=0.05)
    for step in range(2):
        _set_gradients(before, step)
        first.step()
    state = first.state_dict()
    after = [p.detach().clone().requires_grad_() for p in before]
    second = Adam(after, lr=1.0)
    second.load_state_dict(state)
    assert second.lr == 0.05
    reference = torch.optim.Adam(before, lr=0.05, fused=True)
    reference.load_state_dict({**reference.state_dict(), "state": {i: dict(m) for i, m in state["state"].items()}})
    kept = {i: {name: value.clone() for name, value in m.items()} for i, m in second.state_dict()["state"].items()}
    assert set(kept) == {0, 1}
    for step in range(2, 5):
        for parameters, optimizer in ((before, reference), (after, second)):
            _set_gradients(parameters, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_loaded_state_is_a_copy() -> None:
    parameters = _parameters()
    adam = Adam(parameters, lr=0.1)
    _set_gradients(parameters, 5)
    adam.step()
    state = adam.state_dict()
    saved = {i: {name: value.clone() for name, value in m.items()} for i, m in state["state"].items()}
    other = Adam(parameters, lr=0.1)
    other.load_state_dict({**state, "state": saved})
    other.step()
    assert all(torch.equal(saved[i][name], adam.state_dict()["state"][i][name]) for i in saved for name in saved[i])


@pytest.mark.slow
def test_no_compiler_is_loaded() -> None:
    """It would double the time that a training takes to begin."""
    program = """
import sys, torch
from lebm_text.training.adam import Adam
weight = torch.ones(3, requires_grad=True)
adam = Adam([weight], lr=0.1)
weight.sum().backward()
adam.step()
adam.load_state_dict(adam.state_dict())
adam.zero_grad()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
