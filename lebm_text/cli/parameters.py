"""Subclasses of click's commands and parameter types, with stricter checks and clearer messages."""

from __future__ import annotations

import difflib
import math
import os
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import Any

import click

from lebm_text.text.sources import STDIN

__all__ = ["AnyPath", "Command", "FiniteRange", "Group", "Input", "RunPath", "WholeRange"]

_LONGEST = 1000  # characters of a command's summary in the help of its group
_FILES = "lebm_text.files"  # key in the contexts' `meta`: existing files among the arguments, and whether they are read


class Command(click.Command):
    """A command that refuses a repeated option unless it is repeatable; click would take its last value.

    If it is given one argument too many, it names the option that is probably missing before it.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, extra, order = self.make_parser(ctx).parse_args([*args])
        given, options = Counter(order), {param.name: param.opts[0] for param in self.params}
        for word in [] if ctx.resilient_parsing else extra:
            missing = "run" if os.path.isdir(word) else "n" if word.isdecimal() else "samples"
            meant = f"; do you mean {options[missing]} {quote(word)}?" if missing in options else ""
            raise click.UsageError(f"unexpected argument {word!r}{meant}", ctx)
        for param in [] if ctx.resilient_parsing else [each for each in given if isinstance(each, click.Option)]:
            takes_one = not (param.multiple or param.count) and (not param.is_flag or param.secondary_opts)
            if given[param] > 1 and takes_one:
                name = max(param.opts, key=len)
                raise click.UsageError(f"{name} is given {given[param]} times; it takes one value", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands; its help does not truncate their summaries."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(_LONGEST)) for name, command in commands if command is not None]
            )


class WholeRange(click.IntRange):
    """A range of whole numbers, with a clear message for a value that is not a whole number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            int(value)
        except (ValueError, TypeError):
            self.fail(f"{value!r} is no whole number", param, ctx)
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """A range of finite numbers; unlike click's range it refuses `nan`, and it has a clear message for other values."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except (ValueError, TypeError):
            self.fail(f"{value!r} is no number", param, ctx)
        number = float(super().convert(number, param, ctx))
        if not math.isfinite(number):
            self.fail(f"must be a finite number, got {number}", param, ctx)
        return number


class AnyPath(click.Path):
    """A path; refuses names that no file can have, among them the empty one, which means the working directory.

    A path that need not exist is one to write to. It is refused if the command also reads it, or if it is a file of a
    run directory.
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
            from lebm_text.run_files import CONFIG, PUBLISHED

            if path.name in PUBLISHED and path.with_name(CONFIG).is_file():
                self.fail(f"{path} is a part of the run in {path.parent}: name another file", param, ctx)


class Input(AnyPath):
    """A file to read; `-` is standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        return STDIN if value == "-" else path


class RunPath(AnyPath):
    """A run directory, or the name of a model on the Hugging Face Hub or in the package, which is fetched on use."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from lebm_text.run_files import CONFIG, runs_directory
        from lebm_text.sharing.hub import DEMO, is_elsewhere

        if is_elsewhere(value):
            return Path(value)
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            runs = [path.parent for path in runs_directory().glob(f"*/{CONFIG}")]
            known = {name: str(run) for run in runs for name in (run.name, str(run))} | {DEMO: DEMO}
            close = difflib.get_close_matches(str(value), known, n=1)
            if not close or Path(value).exists():
                raise
            self.fail(f"{value!r} does not exist; did you mean {known[close[0]]}?", param, ctx)
