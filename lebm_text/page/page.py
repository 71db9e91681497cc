"""The HTML page about a run, a file that loads no other files, has no scripts, and escapes all text.

Samples may contain any text that the model or the corpus has; none of it may become markup. The template escapes all
text, and replaces invisible characters, and those that change how the text around them is displayed, by their code
points.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from markupsafe import Markup

from lebm_text import __version__
from lebm_text.metrics import figures_of
from lebm_text.presets import preset
from lebm_text.reports import curves
from lebm_text.reports.base import Report, sources_of
from lebm_text.reports.drawing import picture_formats
from lebm_text.reports.grids import Cell, Grid, number, parts, splits
from lebm_text.reports.svg import to_svg
from lebm_text.run import Run, SampleText
from lebm_text.store import atomic_write_text, sha256_file
from lebm_text.training.monitor import Watchdog
from lebm_text.visible import read_template

from .repeat import commands, nearest_preset

if TYPE_CHECKING:
    from lebm_text.reports.judged import JudgedText

__all__ = ["render", "write_page"]

_SENTENCES = 20  # maximum number read from each sample file
_PAIRS = 50  # maximum number read from each file of reconstructions
_CHARACTERS = 600  # maximum length of a shown sentence
_BYTES = 4096  # maximum number of bytes read from a line
_EPOCHS = 6  # maximum number of epochs whose samples are shown
_OF_EPOCH = re.compile(r"epoch-(\d+)\.txt")

T = TypeVar("T")


class Warned(NamedTuple):
    """A warning of training, the update at which it began, and that at which it ended; None if it holds at the last."""

    step: int
    message: str
    ceased: int | None = None


class Shown(NamedTuple):
    """A report on the page: its tables and paragraphs, and its pictures."""

    name: str
    parts: list[Grid | str]
    pictures: list[Markup]


def write_page(run: Run, output: Path) -> list[str]:
    """Write the page about a run to `output`, atomically.

    Returns:
        Notes on what could not be read and is therefore missing from the page.

    Raises:
        InputError: the run has no valid config.json.
    """
    atomic_write_text(output, render(run))
    return run.notes


def render(run: Run) -> str:
    """Return the page about a run; unreadable parts are added to `run.notes`. Raises as `write_page` does."""
    template = read_template(__package__, "page.html.j2", escape=True, number=number)
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = template.render(style=Markup(style), digest=digest, version=__version__, **_content(run))
    return page.lstrip() + "\n"


def _content(run: Run) -> dict[str, Any]:
    """Return the variables of the template."""
    config = run.config
    environment = (_attempt(run, lambda: run.environment) if run.environment_file.exists() else None) or {}
    corpus = found if isinstance(found := environment.get("corpus"), Mapping) else {}
    metrics = [each for each in map(figures_of, _attempt(run, run.metrics) or []) if {"epoch", "step"} <= each.keys()]
    trained = _attempt(run, lambda: curves.compute([run])) if metrics else None
    reports = run.reports()
    shown: dict[str, list[Shown]] = {}
    for place, (name, report) in enumerate(reports.items()):
        shown.setdefault(report.kind, []).append(_show(run, name, report, f"picture-{place}"))
    texts = [
        (each.path.name, [*map(_cut, _lines(run, each.path, _SENTENCES))], _record(run, each)) for each in run.samples()
    ]
    epochs = {int(match[1]): lines for name, lines, _ in texts if (match := _OF_EPOCH.fullmatch(name))}
    texts = [text for text in texts if not _OF_EPOCH.fullmatch(text[0])]
    rates = {name: figures_of(found) for name, _, each in texts if isinstance(found := each.get("rates"), Mapping)}
    records = {name: record for name, _, record in texts} | {name: each.to_json() for name, each in reports.items()}
    warnings = _warnings(metrics, config.model.latent_dim)
    base, _ = nearest_preset(config)
    state = figures_of(run.progress())
    stopped = None if state.get("finished") or not state.get("step") else int(state["step"])
    return {
        "name": run.name,
        "config": config,
        "state": state,
        "ended": not state and run.weights_file.is_file(),  # shared models have no checkpoint, which has the state
        "metrics": metrics,
        "epochs": [(epoch, epochs[epoch]) for epoch in _spread(sorted(epochs))],
        "texts": texts,
        "rates": rates,
        "pairs": [pairs for path in sorted((run.path / "samples").glob("*.tsv")) if (pairs := _pairs(run, path))],
        "reports": shown,
        "scores": _scores(reports.values()),
        "curves": _show(run, "curves", trained, "curves") if trained else None,
        "warnings": [each for each in warnings if each.ceased is None],
        "ceased": [each for each in warnings if each.ceased is not None],
        "can_draw": bool(picture_formats()),
        "base": base,
        "changes": _dictionary(f"Settings that differ from the preset {base}", config.differences(preset(base))),
        "settings": _dictionary("All settings", _flat(config.to_dict())),
        "corpus": splits(corpus),
        "machine": _dictionary("Machine and versions", _flat({**environment, "corpus": None})),
        "commands": list(dict.fromkeys(commands(run.config, run.name, corpus, records, stopped))),
        "signatures": {name: dict.fromkeys(sources_of(record)) for name, record in records.items()},
        "notes": [note.replace(f"{run.path}/", "") for note in run.notes],
    }


def _attempt(run: Run, read: Callable[[], T]) -> T | None:
    """Return the result of `read`; if it fails, add a note to the run and return None."""
    try:
        return read()
    except (ArithmeticError, LookupError, OSError, RecursionError, ValueError) as error:
        run.note(error)
        return None


def _show(run: Run, name: str, report: Report, ident: str) -> Shown:
    """Return a report's table and, if matplotlib is installed, its pictures, whose ids begin with `ident`."""

    def pictures() -> list[Markup]:
        figure = report.figure() if picture_formats() else None
        return [] if figure is None else [*map(Markup, to_svg(figure, ident))]

    shown = _attempt(run, lambda: [*parts(report.table())]) or []
    return Shown(name, shown, _attempt(run, pictures) or [])


def _scores(reports: Iterable[Report]) -> list[tuple[str, JudgedText]]:
    """Return an FPPL and an RPPL of samples of the model, with labels that name what is unusual of them.

    Those of the test text and of samples as the model draws them come first, if a report has them.
    """
    found: list[tuple[bool, str, JudgedText]] = []
    for report in reports:
        if report.kind not in ("perplexity", "frontier"):
            continue
        # it imports lm_eval, which may be another package
        from lebm_text.reports.judged import Judged, decoding_of, listing

        assert isinstance(report, Judged)
        split = "" if report.corpus.split == "test" else f"{report.corpus.split} text"
        for row in report.results:
            if row.decode is None or row.latents is not None:  # a text from elsewhere, or no samples of the model
                continue
            drawn = row.decode, row.temperature, row.prior_temperature, row.guidance
            how = "" if drawn == ("sample", 1, None, None) else decoding_of(row) or row.decode
            found.append((bool(how or split), listing(f"{row.metric.upper()}, {row.judge} judge", how, split), row))
    chosen: dict[str, tuple[str, JudgedText]] = {}
    for _, label, row in sorted(found, key=itemgetter(0)):
        chosen.setdefault(row.metric, (label, row))
    return list(chosen.values())


def _warnings(metrics: Sequence[Mapping[str, Any]], latent_dim: int) -> list[Warned]:
    """Reproduce the warnings of training, which are not in metrics.jsonl, from the metrics that they depend on."""
    watchdog, found, going_on = Watchdog(latent_dim), list[Warned](), dict[str, int]()
    for record in metrics:
        if "nll_shuffled" in record and "nll_posterior" not in record:
            continue
        for sign, message in watchdog.check(record).items():
            going_on[sign] = len(found)
            found.append(Warned(record["step"], message))
        for sign in going_on.keys() - watchdog.active:
            place = going_on.pop(sign)
            found[place] = found[place]._replace(ceased=record["step"])
    return found


def _record(run: Run, text: SampleText) -> Mapping[str, Any]:
    """Return the record of how a text was generated; if it is out of date, add a note to the run and return {}."""
    recorded = text.record.get("sha256")
    changed = recorded is not None and recorded != _attempt(run, lambda: sha256_file(text.path))
    if changed or text.record.get("weights_sha256", run.present_weights) != run.present_weights:
        why = "was changed after it was generated" if changed else "is of other weights than the run has"
        run.note(f"samples/{text.path.name} {why}: its rates and the command that made it are left out")
        return {}
    return text.record


def _lines(run: Run, path: Path, n: int) -> list[str]:
    """Return the first `n` lines of a text, each cut to `_BYTES` bytes."""

    def read() -> list[bytes]:
        with path.open("rb") as stream:
            return [line for _ in range(n) if (line := _line(stream))]

    lines = _attempt(run, read) or []
    found = [line.decode("utf-8", errors="replace").rstrip("\r\n") for line in lines]
    if any("\ufffd" in text and b"\xef\xbf\xbd" not in line for line, text in zip(lines, found, strict=True)):
        run.note(f"samples/{path.name} is not UTF-8 throughout: a sign stands for what cannot be read")
    return found


def _line(stream: BinaryIO) -> bytes:
    """Return the next line, cut to `_BYTES` bytes; empty at the end."""
    line = piece = stream.readline(_BYTES)
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(1 << 20)
    return line


def _cut(sentence: str) -> str:
    left = len(sentence) - _CHARACTERS
    return sentence if left <= 0 else f"{sentence[:_CHARACTERS]} … ({left:,} characters more)"


def _pairs(run: Run, path: Path) -> list[list[str]]:
    """Read pairs as `lebm-text reconstruct` prints them: a sentence, a tab, its reconstruction."""
    lines = _lines(run, path, _PAIRS)
    found = [[*map(_cut, pair)] for line in lines if len(pair := line.split("\t")) == 2]
    if len(found) < len(lines):
        run.note(f"samples/{path.name} is not what reconstruct writes: a sentence, a tab, its reconstruction")
    return found


def _spread(epochs: Sequence[int]) -> list[int]:
    """Return the first and the last epoch and some in between, evenly spaced."""
    last = min(_EPOCHS, len(epochs)) - 1
    return [epochs[round(i * (len(epochs) - 1) / max(last, 1))] for i in range(last + 1)]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"a": {"b": 1}}` as `{"a.b": 1}`, without None."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": item for name, item in _flat(value).items()}
        elif value is not None:
            found[key] = value
    return found


def _dictionary(caption: str, values: Mapping[str, Any]) -> Grid:
    return Grid(caption, [], [[Cell(key), Cell(_setting(value), "long")] for key, value in values.items()])


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
