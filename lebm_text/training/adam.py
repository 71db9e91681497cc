"""Adam (Kingma and Ba, ICLR 2015) without PyTorch's compiler, which any `torch.optim.Optimizer` loads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

__all__ = ["Adam"]


class Adam:
    """What `torch.optim.Adam(..., fused=True)` computes, by the same function: one pass over each parameter.

    Loading the compiler takes a second, which would be a third of the time until the first update.

    Args:
        parameters: to be learned; one without a gradient is left alone.
        lr: learning rate.
        weight_decay: λ of the penalty λ/2 ‖θ‖², whose gradient is added.
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self._moments: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move each parameter by its gradient."""
        moving, gradients, moments = [], [], []
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                if i not in self._moments:
                    self._moments[i] = _fresh(parameter)
                moving.append(parameter)
                gradients.append(parameter.grad)
                moments.append(self._moments[i])
        with torch.no_grad():
            adam(
                moving,
                gradients,
                [m["exp_avg"] for m in moments],
                [m["exp_avg_sq"] for m in moments],
                [],
                [m["step"] for m in moments],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.lr,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, laid out as PyTorch does."""
        return {"state": {i: dict(m) for i, m in self._moments.items()}, "param_groups": [{"lr": self.lr}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; copies what it is given."""
        self.lr = state["param_groups"][0]["lr"]
        self._moments = {
            i: {name: value.to(self.parameters[i].device, copy=True) for name, value in moments.items()}
            for i, moments in state["state"].items()
        }


def _fresh(parameter: Tensor) -> dict[str, Tensor]:
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }
