"""Which number format the matrix products use; everything else stays in float32."""

from __future__ import annotations

import torch

__all__ = ["compute_dtype", "operand_dtype", "resolve_precision"]


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` → "bf16" where the machine multiplies bfloat16 natively, else "fp32"; others unchanged.

    The check reads capabilities only and measures nothing, so one machine always gives one answer.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if native else "fp32"


def compute_dtype(precision: str) -> torch.dtype:
    """The type of matrix operands for a resolved precision, "fp32" or "bf16"."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def operand_dtype(own: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    """The type of a module's matrix operands, its parameters being in `own`: a float64 module keeps its own."""
    return own if wanted == torch.float32 else wanted
