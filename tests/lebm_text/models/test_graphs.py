"""Recorded functions: a CPU runs them as they are, a replay reads and writes its own tensors, failure is survived."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lebm_text.models import graphs
from lebm_text.models.graphs import Replay, captured

from ..toy import normal


def _square(x: Tensor) -> Tensor:
    return x * x


def test_a_cpu_runs_the_function_itself() -> None:
    assert captured(_square, torch.zeros(2)) is _square


def test_a_replay_computes_from_what_it_is_given_and_keeps_earlier_results() -> None:
    given, result = torch.zeros(3), torch.zeros(3)
    replay = Replay(given, result, lambda: torch.mul(given, given, out=result))
    first, second = normal(3, seed=1).float(), normal(3, seed=2).float()
    kept = replay(first)
    torch.testing.assert_close(replay(second), _square(second))
    torch.testing.assert_close(kept, _square(first))


class _OnCuda:
    """Stands for a tensor of a CUDA device."""

    device = torch.device("cuda")


def test_a_failed_recording_falls_back_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: graphs.Function, like: Tensor) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_record", refuse)
    with pytest.warns(UserWarning, match="no CUDA graph of the Langevin step.*not permitted"):
        assert captured(_square, _OnCuda()) is _square  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_recorded_gradient_is_the_gradient() -> None:
    weight = normal(4, 4, seed=3).float().cuda()

    def gradient(z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        (grad,) = torch.autograd.grad((z @ weight).tanh().sum(), z)
        return grad

    record = captured(gradient, torch.zeros(5, 4, device="cuda"))
    assert isinstance(record, Replay)
    for seed in (4, 5):
        z = normal(5, 4, seed=seed).float().cuda()
        torch.testing.assert_close(record(z), gradient(z))
