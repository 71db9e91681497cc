"""Precision: what is asked for is kept, `auto` follows the machine's capabilities."""

from __future__ import annotations

import pytest
import torch

from lebm_text.models.precision import compute_dtype, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_a_decision_is_kept(precision: str, device: torch.device) -> None:
    assert resolve_precision(precision, device) == precision


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_auto_takes_bf16_where_the_cpu_multiplies_it(avx512: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_precision("auto", CPU) == ("bf16" if avx512 or amx else "fp32")


def test_auto_on_a_gpu_asks_for_native_support(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, n=native: n)
        assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_dtypes() -> None:
    assert compute_dtype("fp32") == torch.float32
    assert compute_dtype("bf16") == torch.bfloat16
    with pytest.raises(KeyError):
        compute_dtype("auto")
