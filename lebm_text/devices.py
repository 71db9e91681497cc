"""From the name of a device to the device."""

from __future__ import annotations

import torch

from lebm_text.errors import InputError

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device) -> torch.device:
    """`auto` is a CUDA device if torch sees one, else the CPU; other names are torch's.

    Raises:
        InputError: no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError:
        raise InputError(f"no such device: {device!r}; try auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available: torch sees no GPU; use --device cpu")
    return device
