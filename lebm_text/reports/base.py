"""What all reports have in common: a frozen dataclass that is JSON in a file, a table on a terminal, and a figure.

A report is computed by the `compute` of its module. Its JSON holds its fields under their names, with `kind` and
`schema` beside them; `from_json` checks every value against the type of its field.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich import box
from rich.table import Table

from lebm_text import __version__
from lebm_text.checks import from_plain
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

__all__ = ["Interval", "Report", "describe", "new_table", "versions"]

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
        try:
            return from_plain(cls, values)
        except InputError as error:
            raise InputError(f"{name} is damaged: {error}") from None

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
