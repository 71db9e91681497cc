from __future__ import annotations

import warnings

import pytest
import torch

from lebm_text.errors import InputError
from lebm_text.torch_state import own_state


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("grad", [False, True])
def test_has_no_inference_mode_and_gradients_as_outside_unless_asked(around: type, grad: bool) -> None:
    with around():
        enabled = torch.is_grad_enabled()
        with own_state(grad=grad):
            assert not torch.is_inference_mode_enabled()
            assert torch.is_grad_enabled() is (grad or enabled)
        assert torch.is_grad_enabled() is enabled
        assert torch.is_inference_mode_enabled() is (around is torch.inference_mode)


def test_has_no_autocast() -> None:
    ones = torch.ones(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.autocast("cpu", torch.bfloat16):
            with own_state():
                assert (ones @ ones).dtype is torch.float32
            assert (ones @ ones).dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_refuses_another_default_dtype_in_one_line(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    try:
        with pytest.raises(InputError, match=rf"default dtype is {dtype}; .*set_default_dtype\(torch.float32\)$"):
            own_state().__enter__()
    finally:
        torch.set_default_dtype(torch.float32)


def test_refuses_another_default_device_in_one_line() -> None:
    def refused() -> None:
        with pytest.raises(InputError, match=r'^[^\n]*default device is meta; .*set_default_device\("cpu"\)'):
            own_state().__enter__()

    with torch.device("meta"):
        refused()
        with torch.device("cpu"), own_state():
            pass
    torch.set_default_device("meta")
    try:
        refused()
    finally:
        torch.set_default_device(None)
    with own_state():
        pass


def test_what_needs_no_change_stays() -> None:
    """To leave inference mode enables autograd's threads, too."""
    with torch.autograd.set_multithreading_enabled(False), own_state():
        assert not torch._C._is_multithreading_enabled()
