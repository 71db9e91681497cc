"""Write the parts of docs/reference/ that are generated from the code: `python docs/generate.py`.

The tables of presets and settings, and the help of each command, are in the pages between two marks, so that
they can be read without the site, too. The meaning of a setting is its comment in `lebm_text/sections.py`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click

from lebm_text import sections
from lebm_text.checks import MAX_STEP_SIZE, Steps, in_range
from lebm_text.cli.main import PROGRAM, cli
from lebm_text.config import Config
from lebm_text.presets import PRESETS
from lebm_text.reports.grids import markdown_table
from lebm_text.sections import INFERENCE

PAGES = Path(__file__).resolve().parent / "reference"

SECTIONS: dict[str, list[type]] = {name: [kind] for name, kind in get_type_hints(Config).items()}
SECTIONS["prior"], SECTIONS["generator"] = [sections.ClassesConfig], [sections.PretrainedConfig]  # with all settings
SECTIONS["inference"] = [kind for kind in INFERENCE.values() if dataclasses.fields(kind)[1:]]  # those with settings


def meanings(module: Any = sections) -> dict[tuple[str, str], str]:
    """Return (class, field) → the comment above and next to the field."""
    source, comments, alone = inspect.getsource(module), {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    found = {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for name, field in ((each.name, field) for each in classes for field in each.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            first, last = field.lineno, field.end_lineno or field.lineno
            while first - 1 in alone:
                first -= 1
            said = [comments[line] for line in range(first, last + 1) if line in comments]
            found[name, field.target.id] = " ".join(said)
    return found


def settings(section: str) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield for each setting: name, kinds of inference that have it so, type, allowed values, default, meaning."""
    said, kinds = meanings(), SECTIONS[section]
    fields = [(kind, field) for kind in kinds for field in dataclasses.fields(kind) if field.init]
    for name in dict.fromkeys(field.name for _, field in fields):
        having = [(kind, field) for kind, field in fields if field.name == name]
        comments = [said.get((base.__name__, name), "") for kind, _ in having for base in kind.__mro__]
        for default in dict.fromkeys(field.default for _, field in having):
            same = [(kind, field) for kind, field in having if field.default == default]
            kind, field = same[0]
            own = [said.get((base.__name__, name), "") for base in kind.__mro__]
            hint = get_type_hints(kind)[name]
            yield (
                f"{section}.{name}",
                "" if len(same) == len(kinds) else ", ".join(each.kind for each, _ in same),  # type: ignore[attr-defined]
                _type(hint),
                _allowed(kind, field, hint),
                "none" if default is None else json.dumps(default).strip('"'),
                next(filter(None, own + comments), "").replace("<", "&lt;"),  # no tags
            )


def _type(hint: Any) -> str:
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "none"}
    lists = {(str,): "list of texts"}
    kinds = get_args(hint) or (hint,)
    return " or ".join(plain.get(each) or lists.get(get_args(each)[:1], "list of numbers") for each in kinds)


def _allowed(kind: type, field: Any, hint: Any) -> str:
    if field.name == "step_size" and issubclass(kind, Steps):
        return f"above 0, at most {MAX_STEP_SIZE:g}; of a list each, with one per step"
    check, limits, options = field.metadata.get("check", (None, (), {}))
    if check is None:
        return ""
    if check is not in_range:
        known = ", ".join(f"`{each}`" for each in limits[0])
        more = [f"`{each}NAME`" for each in limits[1:]]
        return known if check.__name__ == "one_of" else ", ".join([known, *more, "`package.module:Class`"])
    low, high = (f"{each:,}" if isinstance(each, int) else f"{each:g}" for each in limits)
    first = "above" if options.get("open_start") else "from"
    return f"{first} {low} to {'below ' if options.get('open_end') else ''}{high}"


def settings_tables() -> str:
    """Return a heading, the purpose and a table for each section."""
    parts = []
    for section, kinds in SECTIONS.items():
        rows = [(f"`{name}`", *rest) for name, *rest in settings(section)]
        rows = [("setting", "of", "type", "may be", "default", "meaning"), *rows]
        if len(kinds) == 1:
            rows = [(row[0], *row[2:]) for row in rows]
        parts += [
            f"## {section}",
            inspect.getdoc(sections.InferenceConfig if len(kinds) > 1 else kinds[0]),
            markdown_table(rows[0], rows[1:]),
        ]
    return "\n\n".join(map(str, parts))


def presets_table() -> str:
    """Return a table with name, purpose and changes of each preset."""
    rows = [("preset", "for", "changes of the defaults")]
    for name, (purpose, changes) in PRESETS.items():
        flat = {f"{section}.{key}": value for section, values in changes.items() for key, value in values.items()}
        rows.append((f"`{name}`", purpose, ", ".join(f"`{key}={_short(value)}`" for key, value in flat.items())))
    return markdown_table(rows[0], rows[1:])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def commands_help() -> str:
    """Return a heading and the `--help`, 100 columns wide, of each command and each command of a group."""
    context = click.Context(cli, info_name=PROGRAM, terminal_width=100, **cli.context_settings)
    return "\n\n".join(_helps(cli, context))


def _helps(command: click.Command, context: click.Context) -> Iterator[str]:
    depth = len(context.command_path.split(" "))
    yield f"{'#' * min(depth + 1, 4)} {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            each = command.get_command(context, name)
            assert each is not None
            yield from _helps(each, click.Context(each, context, name, **each.context_settings))


MADE: dict[str, Callable[[], str]] = {
    "presets": presets_table, "settings": settings_tables, "commands": commands_help,
}  # fmt: skip
"""The text between `<!-- NAME -->` and `<!-- end of NAME -->`."""


def made(page: str) -> str:
    """Return the text of a page with the content between its marks generated again."""
    for name, make in MADE.items():
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if marks[0] in page:
            before, after = page.split(marks[0])[0], page.split(marks[1])[1]
            page = f"{before}{marks[0]}\n\n{make()}\n\n{marks[1]}{after}"
    return page


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")
