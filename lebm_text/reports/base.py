"""The base class of reports, a frozen dataclass that is saved as JSON, printed as tables, and drawn.

A report is computed by the `compute` of its module. Its JSON has its fields under their names, and `kind` and `schema`;
`from_json` checks the type of every value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text, TextType

from lebm_text import __version__
from lebm_text.checks import MAX_SEED, Checked, from_plain, setting, to_plain, whole
from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.store import atomic_write_json, check_writable, is_plain, lock, read_json
from lebm_text.visible import visible

from .drawing import picture_files, picture_formats, save_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

    from lebm_text.model import LatentEBM

__all__ = [
    "Interval",
    "Report",
    "Settings",
    "different_runs",
    "format_interval",
    "need_sklearn",
    "new_table",
    "origin",
    "settled",
    "sources_of",
    "with_error",
]

R = TypeVar("R", bound="Report")
T = TypeVar("T")

Interval = tuple[float, float]
"""Lower and upper end."""

_WIDEST, _LEAST_TEXT = 10_000, 30  # characters: width of an unlimited console; minimum width of text columns


def origin(
    model: LatentEBM,
    run: Run,
    what: str,
    seed: int,
    sha256: Mapping[str, str] | None = None,
    packages: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the fields of a report on a run's model that say how it was computed: `signature`, `sha256`, `versions`.

    Args:
        model: its prior's chain may have more steps than the run's configuration says.
        run: the run of the model.
        what: what was computed, for the signature.
        seed: of the computation.
        sha256: hashes of inputs besides the weights, by name.
        packages: further packages that the results depend on.
    """
    from lebm_text.generation.generate import describe_model

    return {
        "signature": f"{what}|{describe_model(model.config)}|seed:{seed}|v:{__version__}",
        "sha256": {"weights": run.weights_sha256, **(sha256 or {})},
        "versions": versions(*packages),
    }


class _Figures(Table):
    """A table that never truncates numbers: if it is too wide, it is split into several, each with the key columns."""

    def __init__(self, title: TextType | None, keys: int, *headings: RenderableType) -> None:
        super().__init__(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        self.keys = keys
        for i, heading in enumerate(headings):
            self.add_column(heading, justify="right" if i else "left", no_wrap=True)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row; strings are not parsed as markup, since a sentence may contain brackets."""
        super().add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        n, stop = sum(column.no_wrap for column in self.columns), self.keys
        texts = self._part(n, len(self.columns)) if n < len(self.columns) else None
        if texts is not None:  # text columns are narrowed first, if enough width remains for them
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
        """Return the width of the unsplit table, in characters."""
        return Measurement.get(console, console.options.update(width=_WIDEST), self).maximum

    def _part(self, start: int, stop: int) -> _Figures:
        """Return a table of the key columns and the columns from `start` to `stop`; the first part has the title."""
        columns = [*self.columns[: self.keys], *self.columns[start:stop]]
        part = _Figures(self.title if start == self.keys else None, self.keys, *(column.header for column in columns))
        for column, own in zip(part.columns, columns, strict=True):
            column.no_wrap, column.justify, column.overflow = own.no_wrap, own.justify, own.overflow
        for row, cells in zip(self.rows, zip(*(column.cells for column in columns), strict=True), strict=True):
            part.add_row(*cells, style=row.style, end_section=row.end_section)
        for column in part.columns[: self.keys]:
            column.no_wrap, column.overflow = False, "fold"  # fold keys rather than numbers if there is too little room
        return part


def new_table(title: str | None, *headings: str, texts: Sequence[str] = (), keys: int = 1) -> Table:
    """Return an empty table: a text column, then right-aligned columns of numbers, which are never wrapped.

    Strings are shown unchanged; brackets are not markup.

    Args:
        title: None for no title.
        headings: of the first columns.
        texts: headings of further columns, for texts of any length.
        keys: number of key columns, which are repeated if the table is split because of its width.
    """
    table = _Figures(None if title is None else Text(title, "table.title"), keys, *headings)
    for heading in texts:
        table.add_column(heading, overflow="fold")
    return table


def sources_of(value: Any) -> Iterator[tuple[str, str]]:
    """Yield all signatures and hashes in the JSON of a report, in order: ("", signature), ("sha256 NAME", hash)."""
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


def settled(settings: T | None, kind: type[T], *runs: Run) -> T:
    """Return the settings of a report, by default `kind()`. Raises InputError if they or `runs` have other types."""
    _require_runs(runs)
    if settings is not None and not isinstance(settings, kind):
        raise InputError(f"the settings must be {kind.__name__}(…), got {type(settings).__name__}")
    return kind() if settings is None else settings


def different_runs(runs: Iterable[Run]) -> list[Run]:
    """Return `runs` as a list. Raises InputError for anything else, and if one is given twice, under any path."""
    if not isinstance(runs, Iterable):
        raise InputError(f"expected a list of runs, got {type(runs).__name__}")
    _require_runs(given := list(runs))
    if len({run.path.resolve() for run in given}) < len(given):
        raise InputError("a run is given twice")
    return given


def _require_runs(given: Iterable[object]) -> None:
    for each in given:
        if not isinstance(each, Run):
            raise InputError(f"a report is computed from a Run, such as Run.find(PATH), got {type(each).__name__}")


def with_error(value: float | None, error: float | None, digits: int = 3) -> str:
    """Format a value and its error for a table; None is an empty string."""
    if value is None:
        return ""
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def format_interval(low: float, high: float, digits: int = 2) -> str:
    """Format an interval, such as `1.20 to 1.45`."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def need_sklearn(what: str) -> None:
    """Raise InputError if scikit-learn is missing; `what`, in the plural, says what needs it."""
    try:
        import sklearn.linear_model
        import sklearn.metrics  # noqa: F401
    except ImportError:
        raise InputError(f"{what} need scikit-learn: pip install 'lebm-text[analysis]'") from None


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Settings of most reports. Raises InputError for values of the wrong type or out of range.

    Attributes:
        seed: of all random choices and draws.
        device: where to compute: auto, cpu or cuda.
    """

    seed: int = setting(1, whole, 0, MAX_SEED)
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """Base class of reports; each kind is a module of `lebm_text.reports`, listed in its `KINDS`.

    Attributes:
        sha256: hashes of the inputs, by name: `weights`, splits of the corpus, texts.
        versions: versions of the packages that the results depend on.
        command: the command that made the report, if any.
    """

    kind: ClassVar[str]
    schema: ClassVar[int] = 1

    sha256: dict[str, str]
    versions: dict[str, str]
    command: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can represent: None for nan and infinity, which it lacks."""
        values: dict[str, Any] = to_plain({"kind": self.kind, "schema": self.schema, **asdict(self)})
        return values

    @classmethod
    def from_json(cls: type[R], values: Mapping[str, Any], name: str = "the report") -> R:
        """Return the report that `to_json` turned into `values`; unknown keys are ignored, None for a number is nan.

        Args:
            values: the JSON of a report.
            name: name of the report in error messages.

        Raises:
            InputError: a value is missing or has the wrong type, values are inconsistent, or the schema has another
                version.
        """
        if values.get("schema", 1) != cls.schema:
            raise InputError(f"{name} has schema {values['schema']!r} of {cls.kind}; this version reads {cls.schema}")
        try:
            report = from_plain(cls, values)
            report.table()  # checks that values are consistent, such as rows for every text
        except (InputError, ArithmeticError, LookupError, ValueError) as error:
            what = error if isinstance(error, InputError) else f"its parts do not fit together ({error})"
            raise InputError(f"{name} is damaged: {what}") from None
        return report

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Return the report that `save` wrote to a file. Raises InputError if it is missing or damaged."""
        return cls.from_json(read_json(Path(path)), str(path))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, atomically. Raises InputError if it cannot be written there."""
        check_writable(Path(path), make_directory=True)
        atomic_write_json(Path(path), self.to_json())

    def save_with_pictures(self, path: Path) -> list[Path]:
        """Write the report, and its pictures next to it, and return the paths of the pictures.

        There are none if matplotlib is missing or `path` is a pipe or a device. If the report replaces another and has
        no pictures, the old pictures are deleted. Processes that write one report take turns, so that report and
        pictures are of the same one.
        """
        if not is_plain(path):
            self.save(path)
            return []
        stem = path.with_name(path.stem)
        with lock(path.with_name(f".{path.name}.lock"), on_wait=lambda: None):
            replaced = _is_report(path)
            self.save(path)
            figure = self.figure() if picture_formats() else None
            if figure is not None:
                return save_pictures(figure, stem)
            for picture in picture_files(stem) if replaced else ():
                picture.unlink(missing_ok=True)
        return []

    @abstractmethod
    def table(self) -> Group:
        """Return the report as rich tables with titles, and lines of text between them."""

    def sources(self) -> list[str]:
        """Return the signatures of the results and the hashes of the inputs, one line each."""
        return [": ".join(filter(None, each)) for each in dict.fromkeys(sources_of(self.to_json()))]

    def figure(self) -> Figure | None:
        """Return the picture of the report, or None if it has none. Raises InputError if matplotlib is missing."""
        return None


def _is_report(path: Path) -> bool:
    """Return whether a file has a report of any kind, as the fields say that all of them have."""
    try:
        return {"kind", "sha256", "versions"} <= read_json(path).keys()
    except InputError:
        return False
