"""Adam: PyTorch's own, which a flag on the device can hold still, without PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from lebm_text.training.trainer import Adam

from ..toy import seeded

SHAPES = ((7, 5), (11,), (3, 4, 2))


def _parameters() -> list[Tensor]:
    rng = seeded(1)
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in SHAPES]


def _set_gradients(parameters: list[Tensor], step: int) -> None:
    rng = seeded(step)
    for i, parameter in enumerate(parameters):
        gradient = torch.randn(parameter.shape, generator=rng)
        # The last has none at first, as a part of a model that is not yet in use.
        parameter.grad = None if i == 2 and step < 3 else gradient


def test_steps_and_states_are_those_of_pytorch() -> None:
    mine, theirs = _parameters(), _parameters()
    adam = Adam(mine, lr=0.05, weight_decay=0.3, fused=True)
    reference = torch.optim.Adam(theirs, lr=0.05, weight_decay=0.3, fused=True)
    for step in range(6):
        for parameters in (mine, theirs):
            _set_gradients(parameters, step)
        if step == 4:
            adam.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 0.01
            adam.load_state_dict(deepcopy(reference.state_dict()))
        adam.step()
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(mine, _parameters(), strict=True))
    adam.zero_grad()
    assert [p.grad for p in mine] == [None, None, None]


def test_the_flag_holds_parameters_and_state() -> None:
    parameters = _parameters()
    adam = Adam(parameters, lr=0.05, fused=True)
    _set_gradients(parameters, 5)
    adam.step()
    before = [value.clone() for value in (*parameters, *(m for s in adam.state.values() for m in s.values()))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float("nan"))
    adam.found_inf = torch.tensor(1.0)
    adam.step()
    after = [*parameters, *(m for s in adam.state.values() for m in s.values())]
    assert len(after) == 12 and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_no_compiler_is_loaded() -> None:
    """It would add a third to the time that a training takes to begin."""
    program = """
import sys, torch
from lebm_text.training.trainer import Adam
weight = torch.ones(3, requires_grad=True)
adam = Adam([weight], lr=0.1, fused=True)
weight.sum().backward()
adam.found_inf = torch.zeros(())
adam.step()
adam.load_state_dict(adam.state_dict())
adam.zero_grad()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
