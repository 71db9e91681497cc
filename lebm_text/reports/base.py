"""What all reports have in common: a frozen dataclass that is JSON in a file, a table on a terminal, and a figure.

A report is computed by the `compute` of its module. Its JSON holds its fields under their names, with `kind` and
`schema` beside them; `from_json` checks every value against the type of its field.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text, TextType

from lebm_text import __version__
from lebm_text.checks import MAX_SEED, Checked, from_plain, setting, whole
from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, is_plain, read_json
from lebm_text.visible import visible

from .drawing import picture_files, picture_formats, save_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

    from lebm_text.model import LatentEBM
    from lebm_text.run import Run

__all__ = [
    "Interval",
    "Report",
    "Settings",
    "format_interval",
    "need_sklearn",
    "new_table",
    "origin",
    "sources_of",
    "with_error",
]

R = TypeVar("R", bound="Report")
T = TypeVar("T")

Interval = tuple[float, float]
"""Low and high end."""

_WIDEST, _LEAST_TEXT = 10_000, 30  # characters


def origin(
    model: LatentEBM,
    run: Run,
    what: str,
    seed: int,
    sha256: Mapping[str, str] | None = None,
    packages: Sequence[str] = (),
) -> dict[str, Any]:
    """The fields that tell where a report on a run's model comes from: `signature`, `sha256` and `versions`.

    Args:
        model: with the prior's chain as it draws, which may be finer than the run's configuration says.
        run: whose model it is.
        what: was computed, for the signature.
        seed: of the computation.
        sha256: of inputs besides the weights.
        packages: that the figures depend on besides the usual ones.
    """
    from lebm_text.generation.generate import describe_model

    return {
        "signature": f"{what}|{describe_model(model.config)}|seed:{seed}|v:{__version__}",
        "sha256": {"weights": run.weights_sha256, **(sha256 or {})},
        "versions": versions(*packages),
    }


class _Figures(Table):
    """A table that cuts no figure off: without room for all columns it is several, each with the first `keys`."""

    keys = 1

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row of cells as they are: a sentence may have brackets."""
        super().add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        n, stop = sum(column.no_wrap for column in self.columns), self.keys
        texts = self._part(n, len(self.columns)) if n < len(self.columns) else None
        if texts is not None:  # they give way, unless hardly anything would be left to them
            room = options.max_width - self._part(self.keys, n).width_on(console)
            if n <= self.keys or room >= min(_LEAST_TEXT, texts.width_on(console)):
                yield from super().__rich_console__(console, options)
                return
        while stop < n:
            start, stop = stop, n
            part = self._part(start, stop)
            while stop > start + 1 and part.width_on(console) > options.max_width:
                stop -= 1
                part = self._part(start, stop)
            yield from super(_Figures, part).__rich_console__(console, options)
        if texts is not None:
            yield from super(_Figures, texts).__rich_console__(console, options)

    def width_on(self, console: Console) -> int:
        """The width, in characters, with all columns beside each other."""
        return Measurement.get(console, console.options.update(width=_WIDEST), self).maximum

    def _part(self, start: int, stop: int) -> _Figures:
        """The keys and the columns from `start` up to `stop`; the first part has the title."""
        columns = [*self.columns[: self.keys], *self.columns[start:stop]]
        part = _figures(self.title if start == self.keys else None, self.keys, *(column.header for column in columns))
        for column, own in zip(part.columns, columns, strict=True):
            column.no_wrap, column.justify, column.overflow = own.no_wrap, own.justify, own.overflow
        for row, cells in zip(self.rows, zip(*(column.cells for column in columns), strict=True), strict=True):
            part.add_row(*cells, style=row.style, end_section=row.end_section)
        for column in part.columns[: self.keys]:
            column.no_wrap, column.overflow = False, "fold"  # rather than figures, where even one has no room
        return part


def _figures(title: TextType | None, keys: int, *headings: RenderableType) -> _Figures:
    table = _Figures(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.keys = keys
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    return table


def new_table(title: str | None, *headings: str, texts: Sequence[str] = (), keys: int = 1) -> Table:
    """A table of figures: a text column, then columns whose cells stand at the right and are never broken.

    What is given as a string is shown as it is, brackets and all.

    Args:
        texts: headings of further columns, for texts of any length.
        keys: how many of the first columns say what a row is; they are repeated where a table must be parted.
    """
    table = _figures(None if title is None else Text(title, "table.title"), keys, *headings)
    for heading in texts:
        table.add_column(heading, overflow="fold")
    return table


def sources_of(value: Any) -> Iterator[tuple[str, str]]:
    """Every signature and every hash anywhere in a report as JSON, in order: ("", signature), ("sha256 NAME", hash)."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "signature":
                yield "", str(item)
            elif key == "sha256":
                hashes = item.items() if isinstance(item, Mapping) else [("text", item)]
                yield from ((f"sha256 {name}", str(each)) for name, each in hashes)
            else:
                yield from sources_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from sources_of(item)


def with_error(value: float | None, error: float | None, digits: int = 3) -> str:
    """A figure and its error for a table; nothing for what is not known."""
    if value is None:
        return ""
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def format_interval(low: float, high: float, digits: int = 2) -> str:
    """The ends of an interval, as all tables and lines write them: `1.20 to 1.45`."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def need_sklearn(what: str) -> None:
    """Raise InputError if scikit-learn is missing; `what` needs it."""
    try:
        import sklearn.linear_model
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need scikit-learn: pip install 'lebm-text[analysis]'") from None


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """What most reports are set by. Raises InputError for values of the wrong type or out of range.

    Attributes:
        seed: of all choices and draws.
        device: where to compute: auto, cpu or cuda.
    """

    seed: int = setting(1, whole, 0, MAX_SEED)
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
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
            InputError: a value is missing or of another type, parts do not fit together, or the file is of a later
                version.
        """
        if values.get("schema", 1) != cls.schema:
            raise InputError(f"{name} has schema {values['schema']!r} of {cls.kind}; this version reads {cls.schema}")
        try:
            report = from_plain(cls, values)
            report.table()  # what it needs is there, such as a row of each figure
        except (InputError, ArithmeticError, LookupError, ValueError) as error:
            what = error if isinstance(error, InputError) else f"its parts do not fit together ({error})"
            raise InputError(f"{name} is damaged: {what}") from None
        return report

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read a file that `save` wrote. Raises InputError if it is missing or damaged."""
        return cls.from_json(read_json(Path(path)), str(path))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all."""
        atomic_write_json(Path(path), self.to_json())

    def save_with_pictures(self, path: Path) -> list[Path]:
        """Write the report and, where matplotlib is there and files can lie beside `path`, its pictures, returned.

        Pictures of a report of this kind that it replaces are deleted if it has none.
        """
        replaced = is_plain(path) and _kind(path) == self.kind
        self.save(path)
        figures = self.figures() if picture_formats() and is_plain(path) else {}
        pictures = [
            picture
            for ending, figure in figures.items()
            for picture in save_pictures(figure, path.with_name(path.stem + ending))
        ]
        if replaced and not pictures:
            for picture in picture_files(path.with_name(path.stem)):
                picture.unlink(missing_ok=True)
        return pictures

    @abstractmethod
    def table(self) -> Group:
        """The report for people: rich tables (their titles say what is in them) and lines of text between them."""

    def sources(self) -> list[str]:
        """What each figure is and was computed from, a line each: signatures, and sha256 of the inputs."""
        return [": ".join(filter(None, each)) for each in dict.fromkeys(sources_of(self.to_json()))]

    def figure(self) -> Figure | None:
        """The report's picture; None if it has none. Raises InputError if matplotlib is missing."""
        return None

    def figures(self) -> dict[str, Figure]:
        """All pictures, by what is added to the report's name for their files; most reports have one, under ""."""
        figure = self.figure()
        return {} if figure is None else {"": figure}


def _kind(path: Path) -> Any:
    """Of the report in a file; None if there is none."""
    try:
        return read_json(path).get("kind")
    except InputError:
        return None
