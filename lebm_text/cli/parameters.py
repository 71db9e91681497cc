"""Types of options and arguments, beside click's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from lebm_text.text.sources import STDIN

__all__ = ["AnyPath", "FiniteRange", "Input", "RunPath"]

_FILES = "lebm_text.files"  # in the contexts' `meta`: those that are there, and whether they are read


class FiniteRange(click.FloatRange):
    """Refuses `nan`, too, which click's range lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"must be a finite number, got {number}", param, ctx)
        return number


class AnyPath(click.Path):
    """Refuses names that no file can have: the empty one would be the working directory.

    A file that need not exist is written: it may be none that the command reads, and none that a run consists of.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "" or "\0" in str(value):
            self.fail(f"{str(value)!r} is no name of a file", param, ctx)
        if str(value) == "-" and not self.exists:
            self.fail("'-' is no name of a file; standard output is /dev/stdout", param, ctx)
        path: Any = super().convert(value, param, ctx)
        if ctx is not None and self.file_okay and Path(path).is_file():
            self._require_apart(Path(path), param, ctx)
        return path

    def _require_apart(self, path: Path, param: click.Parameter | None, ctx: click.Context) -> None:
        seen: list[tuple[Path, bool]] = ctx.meta.setdefault(_FILES, [])
        if any(is_read != self.exists and path.samefile(other) for other, is_read in seen):
            self.fail(f"{path} is read and would be written: name another file", param, ctx)
        seen.append((path, self.exists))
        if not self.exists:
            from lebm_text.run import CONFIG, PUBLISHED

            if path.name in PUBLISHED and path.with_name(CONFIG).is_file():
                self.fail(f"{path} is a part of the run in {path.parent}: name another file", param, ctx)


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
