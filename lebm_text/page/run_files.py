"""What a run directory holds, read for its page: finished or not, complete or not.

config.json must be there and sound. Anything else may be missing; what is there and cannot be read becomes a note.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.store import read_json, sha256_file
from lebm_text.training.metrics import read_metrics
from lebm_text.training.monitor import Watchdog

from .html import number

__all__ = [
    "RunFiles",
    "SampleText",
    "dig",
    "interval_of",
    "is_figure",
    "mappings",
    "pairs_of",
    "read_run",
    "signatures_in",
    "text_of",
]

_SENTENCES = 20  # read of each sample file
_PAIRS = 50  # read of each file of reconstructions
_CHARACTERS = 600  # shown of a sentence
_BYTES = 4096  # read of a line


@dataclass(frozen=True)
class SampleText:
    """The first lines of a file in samples/, and what the file beside it says of how they were made."""

    name: str
    lines: list[str]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """A run, as far as it has come.

    Attributes:
        progress: of the last checkpoint: step, epoch, seconds, finished; empty if there is none.
        metrics: records of metrics.jsonl, figures that are not finite left out.
        warnings: (step, message) as training said them.
        epochs: samples by epoch.
        samples: other files of samples.
        pairs: sentences and their reconstructions, by file.
        reports: content of eval/NAME.json by NAME.
        notes: what could not be read.
    """

    name: str
    config: Config
    env: Mapping[str, Any]
    progress: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    warnings: list[tuple[int, str]]
    epochs: list[tuple[int, SampleText]]
    samples: list[SampleText]
    pairs: dict[str, list[tuple[str, str]]]
    reports: dict[str, dict[str, Any]]
    notes: list[str]

    @property
    def path(self) -> str:
        """As commands on the page name the run: where runs are kept by default, not where this one lies."""
        return f"runs/{self.name}"

    @property
    def finished(self) -> bool:
        return self.progress.get("finished") is True


def read_run(directory: Path) -> RunFiles:
    """Read a run directory. Raises InputError if it has no sound config.json."""
    config = Config.from_dict(read_json(directory / "config.json"))
    notes: list[str] = []
    reports = {
        path.stem: report for path in _sorted(directory / "eval", "*.json") if (report := _optional(path, notes))
    }
    metrics = _metrics(directory / "metrics.jsonl", notes)
    epochs, samples = [], []
    for path in _sorted(directory / "samples", "*.txt"):
        number = path.stem.removeprefix("epoch-")
        text = SampleText(path.name, _lines(path, _SENTENCES, notes), _optional(Path(f"{path}.json"), notes))
        if path.stem.startswith("epoch-") and number.isdecimal():
            epochs.append((int(number), text))
        else:
            samples.append(text)
    return RunFiles(
        name=directory.resolve().name,
        config=config,
        env=_optional(directory / "env.json", notes),
        progress=_progress(directory / "checkpoints", notes),
        metrics=metrics,
        warnings=_warnings(metrics, config.model.latent_dim),
        epochs=sorted(epochs, key=lambda pair: pair[0]),
        samples=samples,
        pairs={path.name: _pairs(path, notes) for path in _sorted(directory / "samples", "*.tsv")},
        reports=_of_weights(reports, directory / "model.safetensors", notes),
        notes=notes,
    )


def signatures_in(value: Any) -> list[str]:
    """Every `signature` anywhere in a report, once, in order."""
    found: dict[str, None] = {}
    if isinstance(value, Mapping):
        if isinstance(value.get("signature"), str):
            found[value["signature"]] = None
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found |= dict.fromkeys(signatures_in(item))
    return list(found)


def is_figure(value: Any) -> TypeGuard[float]:
    """Whether a value out of a JSON file is a number that can be shown."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def dig(value: Any, *path: str) -> Any:
    """What lies at `path` in nested objects of a report; None where it ends before."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list; none of anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def pairs_of(value: Any) -> list[tuple[float, float]]:
    """The pairs of figures in a list; none of anything else."""
    rows = value if isinstance(value, list) else []
    return [(row[0], row[1]) for row in rows if isinstance(row, list) and len(row) == 2 and all(map(is_figure, row))]


def interval_of(pair: Any) -> str | None:
    """`[low, high]` for people; None for anything else."""
    if isinstance(pair, list) and len(pair) == 2 and all(map(is_figure, pair)):
        return f"{number(pair[0])} to {number(pair[1])}"
    return None


def text_of(report: Mapping[str, Any]) -> str:
    """The corpus and split that a report is about."""
    return f"{dig(report, 'corpus', 'name') or 'unnamed text'}, {dig(report, 'corpus', 'split') or 'split unknown'}"


def _sorted(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.is_file())


def _optional(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except (InputError, RecursionError) as error:
        notes.append(f"{path.name}: {_short(error)}")
        return {}


def _of_weights(reports: dict[str, dict[str, Any]], weights: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Without those that say that they are of other weights than the run has now."""
    of_weights = {name: dig(report, "sha256", "weights") for name, report in reports.items()}
    if not any(of_weights.values()) or not weights.is_file():
        return reports
    now = sha256_file(weights)
    stale = [name for name, sha256 in of_weights.items() if sha256 not in (None, now)]
    notes += [f"{name}.json: of weights that the run no longer has" for name in stale]
    return {name: report for name, report in reports.items() if name not in stale}


def _progress(checkpoints: Path, notes: list[str]) -> Mapping[str, Any]:
    for name in ("last", "previous"):  # between two renames a running training has no `last`
        state = _optional(checkpoints / name / "state.json", notes).get("state")
        progress = state.get("progress") if isinstance(state, Mapping) else None
        if isinstance(progress, Mapping):
            return progress
    return {}


def _metrics(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Records with an epoch; the last line of a running training may be half written and is then left out."""
    if not path.exists():
        return []
    try:
        records = read_metrics(path)
    except InputError as error:
        notes.append(f"{path.name}: {_short(error)}")
        return []
    figures = [{name: value for name, value in record.items() if is_figure(value)} for record in records]
    return [record for record in figures if "epoch" in record and "step" in record]


def _warnings(metrics: list[dict[str, Any]], latent_dim: int) -> list[tuple[int, str]]:
    """metrics.jsonl does not hold them, but all that they follow from."""
    watchdog = Watchdog(latent_dim)
    whole = [record for record in metrics if "nll_posterior" in record or "nll_shuffled" not in record]
    return [(record["step"], message) for record in whole for message in watchdog.check(record)]


def _lines(path: Path, n: int, notes: list[str]) -> list[str]:
    try:
        with path.open("rb") as stream:
            lines = [line for _ in range(n) if (line := _line(stream))]
    except OSError as error:
        notes.append(f"{path.name}: {error.strerror}")
        return []
    return [_cut(line.decode("utf-8", errors="replace").rstrip("\r\n")) for line in lines]


def _line(stream: BinaryIO) -> bytes:
    """The next line, or its first `_BYTES`; empty at the end."""
    line = piece = stream.readline(_BYTES)
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(1 << 20)
    return line


def _cut(sentence: str) -> str:
    left = len(sentence) - _CHARACTERS
    return sentence if left <= 0 else f"{sentence[:_CHARACTERS]} … ({left:,} characters more)"


def _pairs(path: Path, notes: list[str]) -> list[tuple[str, str]]:
    """As `lebm-text reconstruct` prints them: a sentence, a tab, what came of it."""
    pairs = [line.split("\t") for line in _lines(path, _PAIRS, notes)]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _short(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
