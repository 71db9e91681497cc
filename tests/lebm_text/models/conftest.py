"""What the tests of models share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture
def by_cudnn(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each attention from now on, whether cuDNN may compute it."""
    seen, attention = list[bool](), F.scaled_dot_product_attention

    def look(*given: Any, **how: Any) -> torch.Tensor:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]
        return attention(*given, **how)

    monkeypatch.setattr(F, "scaled_dot_product_attention", look)
    return seen
