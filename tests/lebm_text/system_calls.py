"""Functions of `os` replaced for a test, also where `pathlib` calls them, and a process that dies at one of them."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

__all__ = ["MOVES", "Killed", "dying", "replace_call"]

MOVES = ("rename", "replace", "unlink", "rmdir")  # of names that exist


def replace_call(patch: pytest.MonkeyPatch, name: str, replacement: Callable[..., Any]) -> None:
    """Replace `os.NAME`, and what Python 3.10's paths call in its place, which they looked up at their import."""
    original = getattr(os, name)
    patch.setattr(os, name, replacement)
    accessor = getattr(pathlib, "_normal_accessor", None)
    if getattr(accessor, name, None) is original:
        patch.setattr(accessor, name, replacement)


class Killed(BaseException):
    """In place of a kill: no handler of errors takes it."""


def dying(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], names: Iterable[str]) -> Iterator[str]:
    """`act` is stopped before its first, second, … call of one of these functions; yields the name each time."""
    for n_before in itertools.count():
        left = n_before

        def stopping(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:  # from here on a dead process does nothing more, not even to clean up
                    raise Killed(name)
                return call(*arguments, **options)

            return replacement

        with monkeypatch.context() as patch:
            for name in names:
                replace_call(patch, name, stopping(name, getattr(os, name)))
            try:
                act()
            except Killed as killed:
                stopped = str(killed)
            else:
                return
        yield stopped
