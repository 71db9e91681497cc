"""Sentence generation with a latent-space energy-based prior.

The public names below are imported on first use, so that importing this package, and with it the command line's help,
does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import reports
    from .config import Config
    from .generation.settings import DecodeSettings
    from .model import LatentEBM
    from .run import Run
    from .training.train import train

__all__ = ["Config", "DecodeSettings", "LatentEBM", "Run", "__version__", "reports", "train"]

__version__ = "0.1.0"

_PUBLIC = {
    "Config": "config",
    "DecodeSettings": "generation.settings",
    "LatentEBM": "model",
    "Run": "run",
    "train": "training.train",
}


def __getattr__(name: str) -> Any:
    if name == "reports":
        return importlib.import_module(f"{__name__}.reports")
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
