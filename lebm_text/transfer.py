"""Tensors from the host to a device, without waiting for its pending work."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["send"]


def send(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Return the tensor on `device`; copies from the host to CUDA use pinned memory and are asynchronous.

    A plain copy would wait for all work queued on the device.
    """
    if device is None or device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # strided rows would be copied once more
