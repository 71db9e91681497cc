"""Functions of `os` replaced for a test, also where `pathlib` calls them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["replace_call"]


def replace_call(patch: pytest.MonkeyPatch, name: str, replacement: Callable[..., Any]) -> None:
    """Replace `os.NAME`, and what Python 3.10's paths call in its place, which they looked up at their import."""
    original = getattr(os, name)
    patch.setattr(os, name, replacement)
    accessor = getattr(pathlib, "_normal_accessor", None)
    if getattr(accessor, name, None) is original:
        patch.setattr(accessor, name, replacement)
