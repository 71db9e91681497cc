"""The command that is being carried out, as its report keeps it, so that it can be repeated."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .main import PROGRAM

__all__ = ["command_line"]


def command_line(run: Path | None = None, *, without: Collection[str] = ()) -> str:
    """What was typed, in the order of the command's options, defaults and the options `without` left out.

    A run is named `runs/NAME`, where runs are kept by default, wherever this one lies. `run`: the one that was taken
    if none was named.
    """
    context = click.get_current_context()
    words = [PROGRAM, *_names(context)]
    options, arguments = [], []
    for parameter in context.command.params:
        typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        value = context.params.get(parameter.name or "")
        if isinstance(parameter, click.Argument):
            arguments += [_word(part) for part in _values(parameter, value)] if typed else []
        elif typed and parameter.name not in without:
            options += list(_option(parameter, value))
        elif parameter.name == "run" and run is not None:
            options += ["--run", _word(run)]
    mark = ["--"] if any(word.startswith("-") for word in arguments) else []
    return shlex.join([*words, *options, *mark, *arguments])


def _names(context: click.Context) -> list[str]:
    """Of the command and the groups that it is in, the program left out."""
    return [] if context.parent is None else [*_names(context.parent), str(context.info_name)]


def _option(option: click.Parameter, value: Any) -> Iterator[str]:
    name = max(option.opts, key=len)
    if isinstance(option, click.Option) and option.is_flag:
        yield name if value or not option.secondary_opts else max(option.secondary_opts, key=len)
        return
    for part in _values(option, value):
        yield from (name, _word(part))


def _values(parameter: click.Parameter, value: Any) -> list[Any]:
    several = parameter.nargs != 1 or (isinstance(parameter, click.Option) and parameter.multiple)
    return list(value) if several else [value]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return _place(value) if isinstance(value, Path) else str(value)


def _place(path: Path) -> str:
    """A path as it was typed, but for a run and what lies in it."""
    for directory in (path, *path.parents):
        if (directory / "config.json").is_file():
            return str(Path("runs", directory.resolve().name) / path.relative_to(directory))
    return str(path)
