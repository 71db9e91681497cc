"""Settings of torch that a caller may have changed for all code around it, and that would change what this computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from lebm_text.errors import InputError

__all__ = ["own_state"]


@contextmanager
def own_state(*, grad: bool = False) -> Iterator[None]:
    """Compute inside without inference mode and autocast, whatever the caller has entered.

    Args:
        grad: enable gradients, too; otherwise they are enabled inside if they were outside.

    Raises:
        InputError: torch's default dtype is not float32, or its default device not the CPU.
    """
    if (dtype := torch.get_default_dtype()) is not torch.float32:
        raise InputError(f"torch's default dtype is {dtype}; before this call torch.set_default_dtype(torch.float32)")
    if (device := torch.get_default_device()).type != "cpu":  # noise, lengths and indices are made on the CPU
        raise InputError(
            f"torch's default device is {device}; call this outside of torch.device({str(device)!r}), or before it "
            'torch.set_default_device("cpu"): models have a device of their own'
        )
    enabled = grad or torch.is_grad_enabled()
    # Left only where it was entered: leaving it also enables gradients and autograd's threads.
    leaving = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with (
        leaving,
        torch.set_grad_enabled(enabled),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield
