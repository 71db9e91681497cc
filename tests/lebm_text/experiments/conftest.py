"""What the tests of experiments share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .program import Program, carry_out


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of `experiment()`, all steps of which are carried out."""
    carry_out(tmp_path, Program(), monkeypatch)
    return tmp_path
