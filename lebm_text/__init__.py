"""Sentence generation with a latent-space energy-based prior.

`from lebm_text import LatentEBM` is the public face; it is imported on first use, so that importing this
package, and with it the command line's help, does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import LatentEBM

__all__ = ["LatentEBM", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "LatentEBM":
        from .model import LatentEBM

        return LatentEBM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
