"""What all reports have in common: a frozen dataclass that is JSON in a file, a table on a terminal, and a figure.

A report is computed by the `compute` of its module. Its JSON holds its fields under their names, with `kind` and
`schema` beside them; `from_json` checks every value against the type of its field.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rich import box
from rich.table import Table

from lebm_text import __version__
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

__all__ = ["Interval", "Report", "describe", "from_plain", "new_table", "versions"]

R = TypeVar("R", bound="Report")
T = TypeVar("T")

Interval = tuple[float, float]
"""Low and high end."""

_PACKAGES = ("numpy", "torch", "ufal-kenlm", "kenlm", "sacrebleu")


def versions(*packages: str) -> dict[str, str]:
    """Of this program, Python, and the packages that figures depend on; `packages`: further ones."""
    found = {"lebm-text": __version__, "python": platform.python_version()}
    for package in (*_PACKAGES, *packages):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def describe(what: str, config: Config, seed: int) -> str:
    """The signature of a report on a model: `what` was computed, of which model, with which seed and version."""
    from lebm_text.generation.generate import describe_model

    return f"{what}|{describe_model(config)}|seed:{seed}|v:{__version__}"


def new_table(title: str | None, *headings: str) -> Table:
    """A table of figures: a text column, then columns whose cells stand at the right and are never broken."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table


@dataclass(frozen=True, kw_only=True)
class Report:
    """A base for the reports; each is one file of `lebm_text.reports`, registered in its `__init__`.

    Attributes:
        sha256: of the inputs, by name: `weights`, splits of the corpus, texts.
        versions: of the packages that the figures depend on.
        command: that made it, if it was made by one.
    """

    kind: ClassVar[str]
    schema: ClassVar[int] = 1

    sha256: dict[str, str]
    versions: dict[str, str]
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"kind": self.kind, "schema": self.schema, **asdict(self)}

    @classmethod
    def from_json(cls: type[R], values: Mapping[str, Any], name: str = "the report") -> R:
        """The inverse of `to_json`; `name` is for messages. Keys that the report does not know are ignored.

        Raises:
            InputError: a value is missing or of another type, or the file is of a later version.
        """
        if values.get("schema", 1) != cls.schema:
            raise InputError(f"{name} has schema {values['schema']!r} of {cls.kind}; this version reads {cls.schema}")
        return from_plain(cls, values, name)

    @classmethod
    def load(cls: type[R], path: Path) -> R:
        """Read a file that `save` wrote. Raises InputError if it is missing or damaged."""
        return cls.from_json(read_json(path), str(path))

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        atomic_write_json(path, self.to_json())

    def table(self) -> Group:
        """The report for people: rich tables (their titles say what is in them) and lines of text between them."""
        raise NotImplementedError

    def figure(self) -> Figure | None:
        """The report's picture; None if it has none. Raises InputError if matplotlib is missing."""
        return None

    def figures(self) -> dict[str, Figure]:
        """All pictures, by what is added to the report's name for their files; most reports have one, under ""."""
        figure = self.figure()
        return {} if figure is None else {"": figure}


def from_plain(kind: type[T], value: object, name: str) -> T:
    """`value`, as JSON gives it, as a dataclass, tuple, list, dictionary, union or plain type; `name` is for messages.

    Raises:
        InputError: it is not of that type.
    """
    found: T = _read(kind, value, name)
    return found


def _read(kind: Any, value: Any, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, name)
    if origin in (Union, UnionType):
        return _read_union(arguments, value, name)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is dict or kind is dict:
        if isinstance(value, Mapping):
            inner = arguments[1] if arguments else Any
            return {str(key): _read(inner, item, f"{name}.{key}") for key, item in value.items()}
    elif origin in (list, tuple) or kind in (list, tuple):
        if isinstance(value, (list, tuple)):
            return _read_sequence(origin or kind, arguments, value, name)
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > sys.float_info.max:
            return float(value)
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind is NoneType:
        if value is None:
            return None
    elif isinstance(value, kind):
        return value
    raise InputError(f"{name} is damaged: expected {_described(kind)}, got {_short(value)}")


def _read_dataclass(kind: type, value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == len(fields(kind)):  # as version 0.1.0 wrote some
        value = dict(zip((field.name for field in fields(kind)), value, strict=True))
    if not isinstance(value, Mapping):
        raise InputError(f"{name} is damaged: expected an object, got {_short(value)}")
    hints = get_type_hints(kind)
    found = {}
    for field in fields(kind):
        if field.name in value:
            found[field.name] = _read(hints[field.name], value[field.name], f"{name}: {field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{name} is damaged: it has no {field.name}")
    return kind(**found)


def _read_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    problem: InputError | None = None
    for kind in kinds:
        try:
            return _read(kind, value, name)
        except InputError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _read_sequence(kind: type, arguments: tuple[Any, ...], value: Any, name: str) -> Any:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise InputError(f"{name} is damaged: expected {len(arguments)} values, got {len(value)}")
        return tuple(_read(each, item, name) for each, item in zip(arguments, value, strict=True))
    inner = arguments[0] if arguments else Any
    return kind(_read(inner, item, f"{name}[{i}]") for i, item in enumerate(value))


def _described(kind: Any) -> str:
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", NoneType: "null"}
    return names.get(kind, "an object" if get_origin(kind) is dict else "a list" if get_origin(kind) else str(kind))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
