"""Tensors from the host to a device, without waiting for what the device still computes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["send"]


def send(tensor: Tensor, device: torch.device | None) -> Tensor:
    """The tensor on `device`; from the host to CUDA through pinned memory, so that the caller goes on at once.

    A plain copy would wait for all work that the device was given before.
    """
    if device is None or device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # strided rows would be copied once more
