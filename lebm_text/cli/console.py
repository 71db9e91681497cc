"""Output of the commands: progress bars and styled tables on a terminal, otherwise plain lines, JSON on request.

Messages and progress go to stderr. With `--json`, stdout has one JSON object per line, and stderr only warnings.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment, Segments

from lebm_text.errors import InputError
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress as OnProgress
from lebm_text.progress import duration, silent
from lebm_text.reports.base import Report, new_table
from lebm_text.reports.drawing import picture_formats
from lebm_text.run import Run
from lebm_text.store import check_ending, check_writable
from lebm_text.training.events import Event, Listener, describe_event, ignore
from lebm_text.visible import visible

from .main import ARGUMENTS, PROGRAM, stop_on_signals
from .options import VERBOSE
from .streams import OutputError, print_json, print_note, print_text

__all__ = [
    "TrainingConsole",
    "command_line",
    "make_report",
    "print_message",
    "progress",
    "show_log",
    "show_report",
    "show_rows",
    "show_sources",
    "show_table",
]

R = TypeVar("R", bound=Report)

_SECONDS_BETWEEN_LINES = 10.0
_RULE = 80  # characters: minimum length of the rule under a heading, if output is not a terminal
_WIDEST = 10_000  # characters: width of output that is not a terminal, so that no line is wrapped


class _LogHandler(logging.Handler):
    """Logging handler that calls `show(kind, message)`; the kind is "notice" or "warning"."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record to `show`."""
        self._show("warning" if record.levelno >= logging.WARNING else "notice", record.getMessage())


@contextmanager
def show_log(show: Callable[[str, str], None]) -> Iterator[None]:
    """Context manager: pass what lebm_text and lm_eval log, from level INFO on, to `show(kind, message)` alone."""
    loggers = [logging.getLogger(name) for name in ("lebm_text", "lm_eval")]
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    handler = _LogHandler(show)
    for logger in loggers:
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers = handlers
            logger.setLevel(level)


def print_message(kind: str, message: str) -> None:
    """Print a notice unchanged, or a warning as `warning: …`, on stderr; a progress bar stays below it."""
    _print_lines(Event(kind, {"message": message}))


class TrainingConsole:
    """Listener that shows a training and stops it in an orderly way on a signal; a context manager.

    On a terminal it shows a progress bar with lines above it, otherwise only lines. With `as_json` it prints one object
    per line on stdout. Events go to `trackers`, too. From the first update on, signals request a stop.

    If the reader of stdout goes away (`| head`), the training stops; if stdout is closed or its disk is full, the
    training continues without it. In both cases `lost` is the error.
    """

    def __init__(self, *, as_json: bool, trackers: Listener = ignore) -> None:
        self.lost: BrokenPipeError | OutputError | None = None
        self._signalled: Callable[[], bool] = lambda: False
        self._stack = ExitStack()
        self._listeners: list[Listener] = [trackers, _print_json if as_json else _print_lines]
        self._on_terminal = sys.stderr.isatty()
        self._show: OnProgress | None = silent if as_json else None if self._on_terminal else Lines()

    def __enter__(self) -> TrainingConsole:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @property
    def listeners(self) -> dict[str, Any]:
        """The callbacks of `lebm_text.train`, by argument name."""
        return {"on_progress": self.on_progress, "on_event": self.on_event, "should_stop": self.should_stop}

    def should_stop(self) -> bool:
        """Return whether a signal requested a stop, or the reader of stdout went away."""
        return isinstance(self.lost, BrokenPipeError) or self._signalled()

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """Show how far the training is; without a terminal, until the first report."""
        if self._show is None:
            self._show = self._stack.enter_context(_bars())
        self._show(stage, done, total)

    def on_event(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "start":
            self._signalled = self._stack.enter_context(stop_on_signals())
        elif event.kind == "report" and not self._on_terminal:
            self._show = silent
        for listener in [*self._listeners]:
            try:
                listener(event)
            except BrokenPipeError as error:
                self._listeners.remove(listener)
                self.lost = error
            except OutputError as error:
                self._listeners.remove(listener)
                self.lost = OutputError(f"{error}; the training went on, and metrics.jsonl has its figures")

    def message(self, kind: str, message: str) -> None:
        """Show a notice or a warning."""
        self.on_event(Event(kind, {"message": message}))


def _print_lines(event: Event) -> None:
    for line in describe_event(event):
        print_note(line, colour="yellow" if event.kind == "warning" else None)


def _print_json(event: Event) -> None:
    print_json({"event": event.kind, **event.data})


@contextmanager
def progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Context manager: yield a callback that shows progress, with the time left of each stage.

    On a terminal it shows one bar per stage, otherwise a line every ten seconds. With `quiet` it shows nothing, and
    of the log messages only warnings are printed.
    """
    if quiet:
        with show_log(lambda kind, message: print_message(kind, message) if kind == "warning" else None):
            yield silent
    elif sys.stderr.isatty():
        with _bars() as on_progress:
            yield on_progress
    else:
        yield Lines()


@contextmanager
def _bars() -> Iterator[OnProgress]:
    """Context manager: yield a callback that shows one progress bar per stage."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    bars = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)

    def show(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(visible(stage), total=total)
        bars.update(tasks[stage], completed=done, total=total, visible=done < total)

    bars.start()
    try:
        yield show
    finally:
        with suppress(OSError):  # the terminal may be gone
            bars.stop()


class Lines:
    """Progress callback that prints a line at most every ten seconds, with the time left."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._stages: dict[str, tuple[float, int, int]] = {}  # time of the first call, done then, done at the last call

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print that `done` of `total` are done, unless the last line is less than ten seconds old."""
        now = time.monotonic()
        began, first, before = self._stages.get(stage, (now, done, done))
        if done < before:  # a stage of the same name has begun again
            began, first = now, done
        self._stages[stage] = began, first, done
        if 0 < done < total and now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            left = f", {duration((total - done) * (now - began) / (done - first))} left" if done > first else ""
            print_note(f"{stage}: {done:,} of {total:,}{left}")


def command_line(run: Run | None = None) -> str:
    """Return the command line that was typed, with `--run` added for `run` if it is missing."""
    root = click.get_current_context().find_root()
    words = [PROGRAM, *root.meta.get(ARGUMENTS, [])]
    if run is not None and not any(word == "--run" or word.startswith("--run=") for word in words):
        words[2:2] = ["--run", f"runs/{run.name}"]
    return shlex.join(words)


def make_report(
    compute: Callable[[OnProgress], R],
    run: Run | None,
    name: str | None = None,
    output: Path | None = None,
    *,
    as_json: bool,
    processes: Processes = ALONE,
) -> R | None:
    """Compute a report, write it with its pictures, and print it as a table or as one line of JSON.

    It is written to `output`, by default to eval/NAME.json of the run that it is about, if both are given.

    Returns:
        The report; None in all processes but the first.

    Raises:
        InputError: `output` cannot be written, or does not end in .json.
    """
    file, own = output, False
    if output is None and run is not None and name is not None:
        file, own = run.report_file(name), True
    if file is not None:
        check_ending(file, "the report is JSON, with pictures beside it", ".json")
        try:
            check_writable(file, make_directory=own)  # checked before the computation, which may take long
        except InputError as error:
            if not own:
                raise
            print_message("warning", f"{error}; the figures are shown and not kept")
            file = None
    with progress(quiet=as_json or not processes.first) as on_progress:
        report = compute(on_progress)
    if not processes.first:
        return None
    report = dataclasses.replace(report, command=command_line(run))
    failed = None
    try:
        pictures = [] if file is None else report.save_with_pictures(file)
    except OSError as error:
        failed = error
    if as_json:
        print_json(report.to_json())
    else:
        show_report(report)
    if failed is not None:  # raised only now, so that the report has been printed
        if not own:
            raise failed
        print_message("warning", f"cannot write {failed.filename}: {failed.strerror}; the figures are not kept")
    elif file is not None:
        if not picture_formats() and type(report).figure is not Report.figure:
            print_note("no picture was drawn: pictures need matplotlib, pip install 'lebm-text[viz]'")
        if not as_json:
            print_note(f"report: {file}{', pictures: ' * bool(pictures)}{', '.join(map(str, pictures))}")
    return report


def show_report(report: Report) -> None:
    """Print the table of a report, and with `--verbose` its signatures and checksums."""
    show_table(report.table())
    show_sources(report.sources())


def show_sources(lines: Iterable[str]) -> None:
    """Print `lines`, such as signatures and checksums, if `--verbose` was given."""
    if click.get_current_context().meta.get(VERBOSE):
        print_text("\n".join(["", *lines]))


def show_table(table: RenderableType) -> None:
    """Print a table, styled if standard output is a terminal."""
    styled = sys.stdout.isatty()
    width = None if styled else _WIDEST
    console = Console(width=width, markup=False, emoji=False, highlight=False, file=io.StringIO(), record=True)
    shown = (Segment(visible(segment.text), segment.style, segment.control) for segment in console.render(table))
    console.print(Segments(shown), end="")
    lines = [line.rstrip() for line in console.export_text(styles=styled).split("\n")]
    if not styled:  # cut the rule under a heading, which would be as long as the longest sentence
        for i, (above, line) in enumerate(pairwise(lines), 1):
            if line.strip(" ─") == "":
                lines[i] = line[: max(len(above), _RULE)]
    print_text("\n".join(lines).strip("\n"), styled=True)


def show_rows(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table without a title."""
    table = new_table(None, *headings)
    for row in rows:
        table.add_row(*map(str, row))
    show_table(table)
