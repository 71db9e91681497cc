"""All commands of the command line, read from click's own tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from lebm_text.cli.main import cli

__all__ = ["all_commands", "changed"]


def all_commands(
    group: click.Group = cli, path: tuple[str, ...] = (), context: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command that is no group, with the words that call it."""
    context = context or click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name), context)
        else:
            yield (*path, name), command


def changed(line: Sequence[str], *more: str) -> list[str]:
    """A command line and more options, in whose place those of `line` with a value of the same name are left out."""
    left_out = {i + place for i, word in enumerate(line) if word in more and word.startswith("-") for place in (0, 1)}
    return [word for i, word in enumerate(line) if i not in left_out] + list(more)
