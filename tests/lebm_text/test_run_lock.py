"""A run directory belongs to one training at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.run import Run

from .holding import held

pytest.importorskip("fcntl")


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with (
        held(tmp_path / ".lock"),
        pytest.raises(InputError, match="another process is training"),
        Run(tmp_path).locked(),
    ):
        pass
    with Run(tmp_path).locked():
        pass
    assert list(tmp_path.iterdir()) == []  # it leaves no file in the run


def test_to_ask_makes_no_directory(tmp_path: Path) -> None:
    assert not Run(tmp_path / "none").is_training()
    assert list(tmp_path.iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Run(tmp_path).locked():
        raise ZeroDivisionError
    with Run(tmp_path).locked():
        pass
