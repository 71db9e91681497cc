"""Types of options and arguments, beside click's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from lebm_text.text.sources import STDIN

__all__ = ["AnyPath", "FiniteRange", "Input", "RunPath"]


class FiniteRange(click.FloatRange):
    """Refuses `nan`, too, which click's range lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"must be a finite number, got {number}", param, ctx)
        return number


class AnyPath(click.Path):
    """Refuses names that no file can have: the empty one would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "" or "\0" in str(value):
            self.fail(f"{str(value)!r} is no name of a file", param, ctx)
        return super().convert(value, param, ctx)


class Input(AnyPath):
    """A file to read; `-` is standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        return STDIN if value == "-" else path


class RunPath(AnyPath):
    """A run directory, or the name of a model that is elsewhere, which is fetched when it is used."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from lebm_text.sharing.hub import is_elsewhere

        return Path(value) if is_elsewhere(value) else super().convert(value, param, ctx)
